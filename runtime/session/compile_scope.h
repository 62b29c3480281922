// The right to compile: one at a time per process, with all global and thread state put back.
#pragma once

#include <mutex>

#include "capture/trace/global_state.h"

namespace monograph::session {

/// Compiling is one at a time per process, since the recorder's key has one owner. Everything that
/// compiling or the traced forward switches (see GlobalState) is as before when the scope ends,
/// also by an exception. A forward that calls a wrapper while its thread compiles is refused, since
/// it would wait for itself.
class CompileScope {
 public:
  /// Waits for its turn; with `kTry` doesn't wait, and may be without it.
  enum class Wait : bool { kTry, kWait };
  explicit CompileScope(Wait wait = Wait::kWait);
  ~CompileScope();
  CompileScope(const CompileScope&) = delete;
  CompileScope& operator=(const CompileScope&) = delete;

  bool owns() const noexcept { return lock_.owns_lock(); }

  /// Error(kInvalidState) if this thread compiles or traces.
  static void refuse_nested();

 private:
  std::unique_lock<std::mutex> lock_;
  trace::GlobalStateScope globals_;
};

}  // namespace monograph::session
