// aten.embedding: rows of a table by index, straight into place.
#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <cstring>

#include "runtime/host/ops/shapes.h"
#include "runtime/host/step.h"

namespace monograph::host {
namespace {

bool accepts(const ir::Node& node) {
  const ir::TensorType* table = tensor_arg(node, 0, "weight");
  const ir::TensorType* indices = tensor_arg(node, 1, "indices");
  return table != nullptr && indices != nullptr && table->rank() == 2 && table->is_contiguous() &&
         (indices->dtype == ir::DType::kI64 || indices->dtype == ir::DType::kI32) &&
         indices->is_contiguous() && node.has_tensor() && node.type().is_contiguous() &&
         node.type().dtype == table->dtype;
}

template <class Index>
void gather_rows(const at::Tensor& table, const at::Tensor& indices, at::Tensor& out) {
  const std::int64_t rows = table.size(0);
  const auto bytes = static_cast<std::size_t>(table.size(1)) * table.itemsize();
  const auto* from = static_cast<const std::byte*>(table.const_data_ptr());
  auto* to = static_cast<std::byte*>(out.mutable_data_ptr());
  const Index* index = indices.const_data_ptr<Index>();
  for (std::int64_t i = 0; i < indices.numel(); ++i) {
    TORCH_CHECK_INDEX(index[i] >= 0 && index[i] < rows, "embedding index ", index[i],
                      " is out of range [0, ", rows, ")");
    std::memcpy(to + static_cast<std::size_t>(i) * bytes,
                from + static_cast<std::size_t>(index[i]) * bytes, bytes);
  }
}

std::unique_ptr<Step> bind(const Call& call) {
  return make_step(
      [table = call.tensor(0), indices = call.tensor(1), out = call.results[0]]() mutable {
        if (indices.scalar_type() == at::kLong) {
          gather_rows<std::int64_t>(table, indices, out);
        } else {
          gather_rows<std::int32_t>(table, indices, out);
        }
      });
}

const HostOpRegistration kEmbedding({.target = "aten.embedding.default",
                                     .name = "host.embedding",
                                     .accepts = accepts,
                                     .workspace_bytes = {},
                                     .bind = bind});

}  // namespace
}  // namespace monograph::host
