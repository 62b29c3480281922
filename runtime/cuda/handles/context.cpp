#include "runtime/cuda/handles/context.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include <atomic>
#include <cstdio>
#include <exception>

#include "runtime/cuda/handles/handle.h"

namespace monograph::cuda {
namespace {

void print_once(const char* what) noexcept {
  static std::atomic_flag printed;
  if (!printed.test_and_set()) {
    std::fprintf(stderr, "monograph: a driver object could not be released: %s\n", what);
  }
}

std::atomic<ReleaseHook> release_hook{&print_once};

}  // namespace

ReleaseHook set_release_hook(ReleaseHook hook) noexcept {
  return release_hook.exchange(hook != nullptr ? hook : &print_once);
}

void report_release(const Driver& driver, const char* call, CUresult result) noexcept {
  // A lost context or a driver that is shutting down has released everything itself.
  if (result == CUDA_SUCCESS || result == CUDA_ERROR_DEINITIALIZED || Driver::is_sticky(result)) {
    return;
  }
  try {
    const std::string what = fmt::format("{}: {}", call, driver.describe(result));
    release_hook.load()(what.c_str());
  } catch (const std::exception&) {
    release_hook.load()(call);
  }
}

void fail_empty(const char* what) {
  throw Error(Code::kInvalidState, fmt::format("use of an empty {} (moved from or released)", what),
              std::string(NodeScope::current()));
}

ContextRef Context::retain(const Driver& driver, int ordinal) {
  std::shared_ptr<Context> context(new Context(driver, driver.device(ordinal)));
  const CUdevice device = context->info_.handle;
  unsigned flags = 0;
  int active = 0;
  driver.DevicePrimaryCtxGetState(device, &flags, &active);
  driver.DevicePrimaryCtxRetain(&context->raw_, device);
  if (active == 0 && driver.poisoned()) {
    const CurrentContext current(*context);
    driver.CtxSynchronize();
    driver.forget_poison();  // the errors were those of a context that no longer exists
  }
  return context;
}

Context::~Context() {
  if (raw_ == nullptr) return;
  report_release(driver_, driver_.DevicePrimaryCtxRelease.name(),
                 driver_.DevicePrimaryCtxRelease.raw(info_.handle));
}

void Context::synchronize() const {
  const CurrentContext current(*this);
  driver_.CtxSynchronize();
}

CurrentContext::CurrentContext(const Context& context) : driver_(context.driver()) {
  CUcontext now = nullptr;
  driver_.CtxGetCurrent(&now);
  if (now == context.get()) return;
  driver_.CtxPushCurrent(context.get());
  pushed_ = true;
}

CurrentContext::CurrentContext(const Context& context, NoThrow) noexcept
    : driver_(context.driver()) {
  CUcontext now = nullptr;
  if (driver_.CtxGetCurrent.raw(&now) == CUDA_SUCCESS && now == context.get()) return;
  pushed_ = driver_.CtxPushCurrent.raw(context.get()) == CUDA_SUCCESS;
}

CurrentContext::~CurrentContext() {
  CUcontext popped = nullptr;
  if (pushed_) report_release(driver_, "cuCtxPopCurrent", driver_.CtxPopCurrent.raw(&popped));
}

}  // namespace monograph::cuda
