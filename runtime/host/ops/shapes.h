// Questions about IR types that host operators ask when they decide whether they suit a node.
#pragma once

#include <optional>

#include "capture/ir/graph.h"

namespace monograph::host {

/// A tensor seen as rows of adjacent elements, all the same distance apart.
struct Rows {
  std::int64_t count = 0;   ///< product of all sizes but the last
  std::int64_t length = 0;  ///< last size; 1 for a scalar
  std::int64_t stride = 0;  ///< elements from one row to the next
};
/// nullopt if the last dimension isn't dense or the leading ones don't collapse into one.
std::optional<Rows> as_rows(const ir::TensorType& type);

/// Argument `index` as a defined CPU tensor, by position or by `name`; nullptr if it is none.
const ir::TensorType* tensor_arg(const ir::Node& node, std::size_t index, std::string_view name);
/// The argument as given, nullptr if absent.
const ir::Arg* find_arg(const ir::Node& node, std::size_t index, std::string_view name);
/// True if the argument is absent or None.
bool is_absent(const ir::Node& node, std::size_t index, std::string_view name);

inline bool is_f32(const ir::TensorType& type) {
  return type.dtype == ir::DType::kF32 && type.device.type == ir::DeviceType::kCpu;
}

}  // namespace monograph::host
