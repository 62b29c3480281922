#include "capture/trace/storage_guard.h"

#include <ATen/core/Tensor.h>

#include <map>

namespace monograph::trace {
namespace {

/// The same bytes through a storage that can't be written. It owns nothing.
c10::Storage guarded(const c10::Storage& storage) {
  c10::Storage alias(c10::Storage::use_byte_size_t(), storage.nbytes(),
                     c10::DataPtr(const_cast<void*>(storage.data()), storage.device()), nullptr,
                     /*resizable=*/false);
  alias.unsafeGetStorageImpl()->set_throw_on_mutable_data_ptr();
  return alias;
}

}  // namespace

StorageGuard::StorageGuard(const Module& module, const std::vector<std::size_t>& positions) {
  std::map<const c10::StorageImpl*, c10::Storage> guards;  // looked up only
  for (const std::size_t i : positions) {
    const at::Tensor& tensor = module.tensors[i].tensor;
    if (!tensor.defined() || !tensor.has_storage() || tensor.storage().data() == nullptr) continue;
    const c10::Storage original = tensor.storage();
    const auto [guard, added] = guards.try_emplace(original.unsafeGetStorageImpl(), c10::Storage());
    if (added) {
      guard->second = guarded(original);
      originals_.emplace(guard->second.unsafeGetStorageImpl(), original);
    }
    swapped_.push_back({tensor, original});
    tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(guard->second);
  }
}

StorageGuard::~StorageGuard() {
  for (const Swapped& s : swapped_) {
    s.tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(s.original);
  }
}

bool StorageGuard::threw(std::string_view words) noexcept {
  return words.find("Cannot access data pointer of") != std::string_view::npos;
}

StorageGuard::Lift::Lift(const StorageGuard& guard, const std::vector<at::Tensor>& tensors) {
  for (const at::Tensor& tensor : tensors) {
    if (!tensor.has_storage()) continue;
    const c10::Storage now = tensor.storage();
    const auto original = guard.originals_.find(now.unsafeGetStorageImpl());
    if (original == guard.originals_.end()) continue;
    swapped_.push_back({tensor, now});
    tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(original->second);
  }
}

StorageGuard::Lift::~Lift() {
  for (const Swapped& s : swapped_) {
    s.tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(s.original);
  }
}

}  // namespace monograph::trace
