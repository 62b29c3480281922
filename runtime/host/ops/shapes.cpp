#include "runtime/host/ops/shapes.h"

namespace monograph::host {

std::optional<Rows> as_rows(const ir::TensorType& type) {
  const std::size_t rank = type.sizes.size();
  if (rank == 0) return Rows{1, 1, 1};
  Rows rows{1, type.sizes[rank - 1], type.sizes[rank - 1]};
  if (rows.length > 1 && type.strides[rank - 1] != 1) return std::nullopt;
  std::int64_t next = -1;  // stride that the next outer dimension must have
  for (std::size_t d = rank - 1; d-- > 0;) {
    if (type.sizes[d] == 1) continue;
    if (next < 0) {
      rows.stride = type.strides[d];
    } else if (type.strides[d] != next) {
      return std::nullopt;
    }
    rows.count *= type.sizes[d];
    next = type.strides[d] * type.sizes[d];
  }
  return rows;
}

const ir::Arg* find_arg(const ir::Node& node, std::size_t index, std::string_view name) {
  return index < node.args().size() ? &node.args()[index] : node.kwarg(name);
}

const ir::TensorType* tensor_arg(const ir::Node& node, std::size_t index, std::string_view name) {
  const ir::Arg* arg = find_arg(node, index, name);
  if (arg == nullptr || !arg->is_node() || !arg->node()->has_tensor()) return nullptr;
  const ir::TensorType& type = arg->node()->type();
  return type.defined() && type.device.type == ir::DeviceType::kCpu ? &type : nullptr;
}

bool is_absent(const ir::Node& node, std::size_t index, std::string_view name) {
  const ir::Arg* arg = find_arg(node, index, name);
  return arg == nullptr || arg->is_none();
}

}  // namespace monograph::host
