#include "capture/trace/global_state.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <c10/core/AutogradState.h>
#include <c10/core/DefaultDtype.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

#include "runtime/base/log.h"

namespace monograph::trace {
namespace {

constexpr std::array kDevices = {at::kCPU, at::kCUDA};

/// Flush-to-zero and denormals-are-zero of this thread.
unsigned read_denormals() noexcept {
#ifdef __SSE__
  constexpr unsigned kFlush = 0x8040;
  return _mm_getcsr() & kFlush;
#else
  return 0;
#endif
}

void write_denormals([[maybe_unused]] unsigned flags) noexcept {
#ifdef __SSE__
  constexpr unsigned kFlush = 0x8040;
  _mm_setcsr((_mm_getcsr() & ~kFlush) | flags);
#endif
}

std::string precision_name(at::Float32MatmulPrecision precision) {
  switch (precision) {
    case at::Float32MatmulPrecision::MEDIUM:
      return "medium";
    case at::Float32MatmulPrecision::HIGH:
      return "high";
    default:
      return "highest";
  }
}

}  // namespace

GlobalState GlobalState::read() {
  const c10::AutogradState& autograd = c10::AutogradState::get_tls_state();
  const at::Context& context = at::globalContext();
  GlobalState state;
  state.grad_ = autograd.get_grad_mode();
  state.inference_ = autograd.get_inference_mode();
  state.forward_grad_ = autograd.get_fw_grad_mode();
  const auto keys = c10::impl::tls_local_dispatch_key_set();
  state.included_ = keys.included_;
  state.excluded_ = keys.excluded_;
  for (std::size_t i = 0; i < kDevices.size(); ++i) {
    state.autocast_[i] = {at::autocast::is_autocast_enabled(kDevices[i]),
                          at::autocast::get_autocast_dtype(kDevices[i])};
  }
  state.autocast_cache_ = at::autocast::is_autocast_cache_enabled();
  state.denormals_ = read_denormals();
  state.streams_ = DeviceStreams::read();
  state.default_dtype_ = c10::get_default_dtype_as_scalartype();
  state.deterministic_ = context.deterministicAlgorithms();
  state.deterministic_warns_ = context.deterministicAlgorithmsWarnOnly();
  state.deterministic_cudnn_ = context.deterministicCuDNN();
  state.benchmark_cudnn_ = context.benchmarkCuDNN();
  state.flash_ = context.userEnabledFlashSDP();
  state.memory_efficient_ = context.userEnabledMemEfficientSDP();
  state.math_ = context.userEnabledMathSDP();
  state.precision_ = precision_name(context.float32MatmulPrecision());
  state.threads_ = at::get_num_threads();
  return state;
}

std::string GlobalState::difference(const GlobalState& other) const {
  const std::pair<bool, const char*> rows[] = {
      {grad_ != other.grad_, "grad mode"},
      {inference_ != other.inference_, "inference mode"},
      {forward_grad_ != other.forward_grad_, "forward-AD mode"},
      {autocast_ != other.autocast_, "autocast"},
      {autocast_cache_ != other.autocast_cache_, "autocast cache"},
      {included_ != other.included_ || excluded_ != other.excluded_, "dispatch keys"},
      {denormals_ != other.denormals_, "flushing of denormals"},
      {!streams_.same_device(other.streams_), "current device"},
      {!streams_.same_streams(other.streams_), "current stream"},
      {default_dtype_ != other.default_dtype_, "default dtype"},
      {deterministic_ != other.deterministic_ || deterministic_warns_ != other.deterministic_warns_,
       "deterministic algorithms"},
      {deterministic_cudnn_ != other.deterministic_cudnn_, "deterministic cuDNN"},
      {benchmark_cudnn_ != other.benchmark_cudnn_, "cuDNN benchmark"},
      {precision_ != other.precision_, "precision of f32 products"},
      {flash_ != other.flash_ || memory_efficient_ != other.memory_efficient_ ||
           math_ != other.math_,
       "choice of attention kernels"},
      {threads_ != other.threads_, "number of threads"},
  };
  for (const auto& [differs, name] : rows) {
    if (differs) return name;
  }
  return {};
}

void GlobalState::restore() const {
  const GlobalState now = read();
  at::Context& context = at::globalContext();
  c10::AutogradState autograd = c10::AutogradState::get_tls_state();
  autograd.set_grad_mode(grad_);
  autograd.set_inference_mode(inference_);
  autograd.set_fw_grad_mode(forward_grad_);
  c10::AutogradState::set_tls_state(autograd);
  for (std::size_t i = 0; i < kDevices.size(); ++i) {
    if (now.autocast_[i] == autocast_[i]) continue;
    at::autocast::set_autocast_enabled(kDevices[i], autocast_[i].on);
    at::autocast::set_autocast_dtype(kDevices[i], autocast_[i].dtype);
  }
  at::autocast::set_autocast_cache_enabled(autocast_cache_);
  c10::impl::PODLocalDispatchKeySet keys;
  keys.set_included(included_);
  keys.set_excluded(excluded_);
  c10::impl::_force_tls_local_dispatch_key_set(c10::impl::LocalDispatchKeySet(keys));
  if (now.denormals_ != denormals_) write_denormals(denormals_);
  if (!now.streams_.same_device(streams_) || !now.streams_.same_streams(streams_)) {
    streams_.restore();
  }
  if (now.default_dtype_ != default_dtype_) {
    c10::set_default_dtype(c10::scalarTypeToTypeMeta(default_dtype_));
  }
  if (now.deterministic_ != deterministic_ || now.deterministic_warns_ != deterministic_warns_) {
    context.setDeterministicAlgorithms(deterministic_, deterministic_warns_);
  }
  if (now.deterministic_cudnn_ != deterministic_cudnn_) {
    context.setDeterministicCuDNN(deterministic_cudnn_);
  }
  if (now.benchmark_cudnn_ != benchmark_cudnn_) context.setBenchmarkCuDNN(benchmark_cudnn_);
  if (now.precision_ != precision_) context.setFloat32MatmulPrecision(precision_);
  if (now.flash_ != flash_) context.setSDPUseFlash(flash_);
  if (now.memory_efficient_ != memory_efficient_) {
    context.setSDPUseMemEfficient(memory_efficient_);
  }
  if (now.math_ != math_) context.setSDPUseMath(math_);
  if (now.threads_ != threads_) at::set_num_threads(threads_);
}

GlobalStateScope::~GlobalStateScope() {
  try {
    before_.restore();
  } catch (const std::exception& e) {
    base::log(base::LogLevel::kError,
              std::string("global state could not be restored: ") + e.what());
  }
}

}  // namespace monograph::trace
