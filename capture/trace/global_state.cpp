#include "capture/trace/global_state.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <c10/core/AutogradState.h>
#include <c10/core/DefaultDtype.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/Exception.h>
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

/// A setting of LibTorch's context that chooses between kernels.
struct Switch {
  const char* name;
  int (*read)(const at::Context& context);
  void (*write)(at::Context& context, int value);
};

template <auto kRead, auto kWrite>
constexpr Switch on_or_off(const char* name) {
  return {name, [](const at::Context& c) -> int { return (c.*kRead)(); },
          [](at::Context& c, int value) { (c.*kWrite)(value != 0); }};
}

/// How cuBLAS may add up products of halves: three choices, set by two flags.
template <auto kRead, auto kWrite>
constexpr Switch reduction(const char* name) {
  return {name, [](const at::Context& c) { return static_cast<int>((c.*kRead)()); },
          [](at::Context& c, int value) {
            using Option = at::CuBLASReductionOption;
            const auto option = static_cast<Option>(value);
            (c.*kWrite)(option == Option::AllowReducedPrecisionWithSplitK,
                        option != Option::DisallowReducedPrecisionDisallowSplitK);
          }};
}

using C = at::Context;
constexpr auto kSwitches = std::to_array<Switch>({
    on_or_off<&C::deterministicCuDNN, &C::setDeterministicCuDNN>("deterministic cuDNN"),
    on_or_off<&C::benchmarkCuDNN, &C::setBenchmarkCuDNN>("cuDNN benchmark"),
    on_or_off<&C::userEnabledCuDNN, &C::setUserEnabledCuDNN>("use of cuDNN"),
    on_or_off<&C::userEnabledMkldnn, &C::setUserEnabledMkldnn>("use of oneDNN"),
    on_or_off<&C::userEnabledFlashSDP, &C::setSDPUseFlash>("choice of attention kernels"),
    on_or_off<&C::userEnabledMemEfficientSDP, &C::setSDPUseMemEfficient>(
        "choice of attention kernels"),
    on_or_off<&C::userEnabledMathSDP, &C::setSDPUseMath>("choice of attention kernels"),
    on_or_off<&C::userEnabledCuDNNSDP, &C::setSDPUseCuDNN>("choice of attention kernels"),
    on_or_off<&C::allowFP16AccumulationCuBLAS, &C::setAllowFP16AccumulationCuBLAS>(
        "sums of halves in products"),
    reduction<&C::allowFP16ReductionCuBLAS, &C::setAllowFP16ReductionCuBLAS>(
        "sums of halves in products"),
    reduction<&C::allowBF16ReductionCuBLAS, &C::setAllowBF16ReductionCuBLAS>(
        "sums of halves in products"),
});

constexpr auto kPrecisions = std::to_array<std::pair<at::Float32Backend, at::Float32Op>>({
    {at::Float32Backend::CUDA, at::Float32Op::MATMUL},
    {at::Float32Backend::CUDA, at::Float32Op::CONV},
    {at::Float32Backend::CUDA, at::Float32Op::RNN},
    {at::Float32Backend::MKLDNN, at::Float32Op::MATMUL},
    {at::Float32Backend::MKLDNN, at::Float32Op::CONV},
    {at::Float32Backend::MKLDNN, at::Float32Op::RNN},
});

/// LibTorch's older setting for all libraries. It throws once somebody has set one library's by
/// itself.
int read_precision(const at::Context& context) {
  try {
    return static_cast<int>(context.float32MatmulPrecision());
  } catch (const c10::Error&) {
    return -1;
  }
}

void write_precision(at::Context& context, int precision) {
  using Precision = at::Float32MatmulPrecision;
  if (precision < 0) return;
  const auto value = static_cast<Precision>(precision);
  context.setFloat32MatmulPrecision(value == Precision::MEDIUM ? "medium"
                                    : value == Precision::HIGH ? "high"
                                                               : "highest");
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
  static_assert(std::tuple_size_v<decltype(state.switches_)> == kSwitches.size());
  for (std::size_t i = 0; i < kSwitches.size(); ++i) {
    state.switches_[i] = kSwitches[i].read(context);
  }
  static_assert(std::tuple_size_v<decltype(state.precisions_)> == kPrecisions.size());
  for (std::size_t i = 0; i < kPrecisions.size(); ++i) {
    const auto& [library, op] = kPrecisions[i];
    state.precisions_[i] = static_cast<int>(context.float32Precision(library, op));
  }
  state.precision_ = read_precision(context);
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
      {precisions_ != other.precisions_ || precision_ != other.precision_,
       "precision of f32 products"},
      {threads_ != other.threads_, "number of threads"},
  };
  for (const auto& [differs, name] : rows) {
    if (differs) return name;
  }
  for (std::size_t i = 0; i < kSwitches.size(); ++i) {
    if (switches_[i] != other.switches_[i]) return kSwitches[i].name;
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
  for (std::size_t i = 0; i < kSwitches.size(); ++i) {
    if (now.switches_[i] != switches_[i]) kSwitches[i].write(context, switches_[i]);
  }
  if (now.precision_ != precision_) write_precision(context, precision_);
  for (std::size_t i = 0; i < kPrecisions.size(); ++i) {
    const auto& [library, op] = kPrecisions[i];
    if (static_cast<int>(context.float32Precision(library, op)) == precisions_[i]) continue;
    context.setFloat32Precision(library, op, static_cast<at::Float32Precision>(precisions_[i]));
  }
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
