#include "runtime/session/guards.h"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Tensor.h>
#include <c10/core/DefaultDtype.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

namespace monograph::session {

std::vector<std::int64_t> mode_words() {
  const at::Context& context = at::globalContext();
  std::vector<std::int64_t> words = {
      c10::GradMode::is_enabled(),
      c10::InferenceMode::is_enabled(),
      static_cast<std::int64_t>(c10::typeMetaToScalarType(c10::get_default_dtype())),
      context.deterministicAlgorithms(),
      context.deterministicCuDNN(),
      context.benchmarkCuDNN(),
  };
  // Not by LibTorch's setting for all libraries, which throws once one library's was set by itself.
  for (const auto library : {at::Float32Backend::CUDA, at::Float32Backend::MKLDNN}) {
    for (const auto op : {at::Float32Op::MATMUL, at::Float32Op::CONV, at::Float32Op::RNN}) {
      const auto precision = context.float32Precision(library, op);
      const bool full = precision == at::Float32Precision::NONE;  // as if nobody had set it
      words.push_back(static_cast<std::int64_t>(full ? at::Float32Precision::IEEE : precision));
    }
  }
  for (const at::DeviceType device : {at::kCPU, at::kCUDA}) {
    const bool on = at::autocast::is_autocast_enabled(device);
    words.push_back(on);
    words.push_back(on ? static_cast<std::int64_t>(at::autocast::get_autocast_dtype(device)) : -1);
  }
  return words;
}

WeightGuard::State WeightGuard::state_of(const at::Tensor& t) noexcept {
  if (!t.defined() || !t.has_storage())
    return {t.unsafeGetTensorImpl(), nullptr, nullptr, 0, false};
  const c10::StorageImpl* storage = t.storage().unsafeGetStorageImpl();
  return {t.unsafeGetTensorImpl(), storage, storage->data(),
          t.is_inference() ? 0 : t.unsafeGetTensorImpl()->version_counter().current_version(),
          false};
}

WeightGuard::WeightGuard(const std::vector<NamedTensor>& tensors) {
  states_.reserve(tensors.size());
  for (const NamedTensor& named : tensors) states_.push_back(state_of(named.tensor));
}

void WeightGuard::release(const std::set<std::string>& names,
                          const std::vector<NamedTensor>& tensors) {
  for (std::size_t i = 0; i < tensors.size() && i < states_.size(); ++i) {
    if (names.contains(tensors[i].name)) states_[i].released = true;
  }
}

bool WeightGuard::holds(const std::vector<NamedTensor>& tensors) const noexcept {
  return std::ranges::equal(states_, tensors, [](const State& state, const NamedTensor& named) {
    return state.released ? state.tensor == named.tensor.unsafeGetTensorImpl()
                          : state == state_of(named.tensor);
  });
}

}  // namespace monograph::session
