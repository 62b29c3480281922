// The dispatch key that the recorder sits on: owned once per process, switched on per thread.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <c10/core/DispatchKey.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <string>

namespace monograph::trace {

/// Below autograd and autocast, above every back end; no fallback of LibTorch's own sits on it.
/// TESTING_ONLY_GenericMode is the spare (it sits above autocast).
inline constexpr c10::DispatchKey kRecorderKey = c10::DispatchKey::Fake;

/// Receives every operator call of the thread that traces.
class CallSink {
 public:
  virtual ~CallSink() = default;
  virtual void call(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
                    torch::jit::Stack* stack) = 0;
};

/// Runs `op` below the recorder's key, its own calls unseen.
void run_below(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack);

/// While alive, operator calls of this thread go to `sink`. One per process at a time.
/// Throws Error(kInvalidState) if a trace runs already, here or on another thread, or if another
/// library holds the dispatch key.
class RecordingScope {
 public:
  explicit RecordingScope(CallSink& sink);
  ~RecordingScope();
  RecordingScope(const RecordingScope&) = delete;
  RecordingScope& operator=(const RecordingScope&) = delete;

  /// First operator that reached the recorder's key on another thread, empty if none did: the
  /// forward handed its thread-local state to a thread that it can't be followed to.
  std::string foreign_call() const;

 private:
  struct Turn {  // the right to trace
    Turn();
    ~Turn();
  } turn_;
  c10::impl::IncludeDispatchKeyGuard include_;
};

/// While alive, operator calls of this thread aren't recorded. For the recorder's own work.
class RecordingPause {
 public:
  RecordingPause() : exclude_(kRecorderKey) {}

 private:
  c10::impl::ExcludeDispatchKeyGuard exclude_;
};

/// True while this thread traces.
bool is_recording() noexcept;

}  // namespace monograph::trace
