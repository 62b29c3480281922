// What all driver handles share: one owner, no copies, release that never throws.
#pragma once

#include <string>
#include <utility>

#include "runtime/cuda/handles/context.h"

namespace monograph::cuda {

/// Called when a destructor could not release a driver object; must not throw. `what` names the
/// call and the driver's text. The default writes to standard error, once per process. Results
/// that only say that the context or the driver has gone are not reported.
using ReleaseHook = void (*)(const char* what) noexcept;
/// Installs `hook` (null: the default again) and returns the previous one. Any thread.
ReleaseHook set_release_hook(ReleaseHook hook) noexcept;
/// Reports `result` of releasing call `call` through the hook, if it is worth reporting.
void report_release(const Driver& driver, const char* call, CUresult result) noexcept;
/// Throws Error(kInvalidState): use of an empty (moved-from or released) `what`.
[[noreturn]] void fail_empty(const char* what);

/// Sole owner of one driver object of type Raw (a pointer type). Derived supplies
/// `kName` and `static void destroy(const Driver&, Raw) noexcept`, called with the context current.
///
/// States: empty (default-constructed, moved-from, released) and owning. Every use but moving,
/// destroying and testing is legal in the owning state only and throws Error(kInvalidState)
/// otherwise. Handles keep their context alive. Objects are not synchronised: one thread at a time.
template <class Derived, class Raw>
class Handle {
 public:
  Handle() = default;
  Handle(Handle&& other) noexcept
      : context_(std::move(other.context_)), raw_(std::exchange(other.raw_, Raw{})) {}
  Handle& operator=(Handle&& other) noexcept {
    if (this != &other) {
      reset();
      context_ = std::move(other.context_);
      raw_ = std::exchange(other.raw_, Raw{});
    }
    return *this;
  }
  ~Handle() { reset(); }

  explicit operator bool() const noexcept { return raw_ != Raw{}; }
  /// The driver's handle; still owned here.
  Raw get() const {
    if (raw_ == Raw{}) [[unlikely]] {
      fail_empty(Derived::kName);
    }
    return raw_;
  }
  const ContextRef& context() const noexcept { return context_; }

 protected:
  Handle(ContextRef context, Raw raw) noexcept : context_(std::move(context)), raw_(raw) {}
  const Driver& driver() const {
    if (raw_ == Raw{}) [[unlikely]] {
      fail_empty(Derived::kName);
    }
    return context_->driver();
  }
  /// Nothing is left to destroy: the driver has done so itself.
  void forget() noexcept { raw_ = Raw{}; }
  void reset() noexcept {
    if (raw_ != Raw{}) {
      const CurrentContext current(*context_, CurrentContext::kNoThrow);
      Derived::destroy(context_->driver(), std::exchange(raw_, Raw{}));
    }
    context_.reset();
  }

 private:
  ContextRef context_;
  Raw raw_{};
};

}  // namespace monograph::cuda
