#include "capture/trace/dispatch_key.h"

#include <monograph/error.h>
#include <torch/library.h>

#include <memory>
#include <mutex>
#include <thread>

#include "capture/trace/convert.h"

namespace monograph::trace {
namespace {

/// Process-wide state of the one trace that may run.
struct Process {
  std::mutex mutex;
  bool tracing = false;
  std::thread::id thread;
  std::string foreign_call;
  std::unique_ptr<torch::Library> fallback;  // kept once registered
};

Process& process() {
  // LibTorch's dispatcher is made before and so destroyed after this.
  (void)c10::Dispatcher::singleton();
  static Process state;
  return state;
}

thread_local CallSink* current_sink = nullptr;

void on_call(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  if (current_sink != nullptr) {
    current_sink->call(op, keys, stack);
    return;
  }
  {
    Process& state = process();
    const std::lock_guard lock(state.mutex);
    if (state.tracing && state.foreign_call.empty()) {
      state.foreign_call = target_of(op.operator_name());
    }
  }
  run_below(op, keys, stack);
}

void register_fallback(Process& state) {
  if (state.fallback != nullptr) return;
  const std::string key = c10::toString(kRecorderKey);
  if (c10::Dispatcher::singleton().hasBackendFallbackForDispatchKey(kRecorderKey)) {
    throw Error(Code::kInvalidState,
                "another library of this process holds the dispatch key '" + key +
                    "' that recording needs; trace before it registers its fallback, or unload it");
  }
  auto library =
      std::make_unique<torch::Library>(torch::Library::IMPL, "_", kRecorderKey, __FILE__, __LINE__);
  library->fallback(torch::CppFunction::makeFromBoxedFunction<&on_call>());
  state.fallback = std::move(library);
}

}  // namespace

void run_below(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const RecordingPause pause;
  op.redispatchBoxed(keys & c10::DispatchKeySet(c10::DispatchKeySet::FULL_AFTER, kRecorderKey),
                     stack);
}

RecordingScope::Turn::Turn() {
  Process& state = process();
  const std::lock_guard lock(state.mutex);
  if (state.tracing) {
    throw Error(Code::kInvalidState,
                state.thread == std::this_thread::get_id()
                    ? "a trace is running on this thread: forward can't be traced from within a "
                      "forward that is being traced"
                    : "a trace is running on another thread: one trace at a time per process");
  }
  register_fallback(state);
  state.tracing = true;
  state.thread = std::this_thread::get_id();
  state.foreign_call.clear();
}

RecordingScope::Turn::~Turn() {
  current_sink = nullptr;
  Process& state = process();
  const std::lock_guard lock(state.mutex);
  state.tracing = false;
}

RecordingScope::RecordingScope(CallSink& sink) : include_(kRecorderKey) {
  current_sink = &sink;
}

RecordingScope::~RecordingScope() {
  current_sink = nullptr;
}

std::string RecordingScope::foreign_call() const {
  Process& state = process();
  const std::lock_guard lock(state.mutex);
  return state.foreign_call;
}

bool is_recording() noexcept {
  return current_sink != nullptr;
}

}  // namespace monograph::trace
