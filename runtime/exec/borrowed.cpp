#include "runtime/exec/borrowed.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <memory>

namespace monograph::exec {
namespace {

/// A tensor like `owner` over its memory, with a storage of its own that keeps the memory.
at::Tensor lend(const at::Tensor& owner) {
  auto keep = std::make_unique<c10::Storage>(owner.storage());
  void* data = keep->mutable_data();
  const std::size_t bytes = keep->nbytes();
  c10::Storage storage(
      c10::Storage::use_byte_size_t(), bytes,
      c10::DataPtr(
          data, keep.release(), [](void* context) { delete static_cast<c10::Storage*>(context); },
          owner.device()),
      nullptr, /*resizable=*/false);
  auto t =
      at::detail::make_tensor<c10::TensorImpl>(std::move(storage), owner.key_set(), owner.dtype());
  t.unsafeGetTensorImpl()->set_sizes_and_strides(owner.sizes(), owner.strides(),
                                                 owner.storage_offset());
  return t;
}

bool held_by_others(const at::Tensor& t) {
  return t.use_count() > 1 || t.storage().use_count() > 1;
}

}  // namespace

const std::vector<at::Tensor>& BorrowedOutputs::renew(const std::string& name) {
  for (std::size_t i = 0; i < memory_.size(); ++i) {
    if (i == lent_.size()) {
      lent_.push_back(lend(memory_[i]));
      continue;
    }
    if (!held_by_others(lent_[i])) continue;
    c10::StorageImpl& stale = *lent_[i].storage().unsafeGetStorageImpl();
    lent_[i] = lend(memory_[i]);
    stale.release_data_and_set_meta_custom_data_ptr_error_msg_(fmt::format(
        "output {} of '{}', borrowed from replay {}, has been overwritten by a later replay; clone "
        "what has to stay, or use OutputMode::kOwned",
        i, name, generation_));
    stale.set_data_ptr_noswap({});
    stale.set_nbytes(0);
  }
  ++generation_;
  return lent_;
}

}  // namespace monograph::exec
