// From IR nodes to what kernel definitions match on. Sees the IR and kernels, neither torch nor
// CUDA.
#pragma once

#include <optional>
#include <string>

#include "capture/ir/graph.h"
#include "kernels/types.h"

namespace monograph::cuda {

/// The node's operator and operands as a kernels::Call, or nullopt with `why` set if some operand
/// has a type that kernels don't know (complex, 8-bit float, undefined).
/// `Call::inputs[i]` is the tensor of `input_nodes[i]`, element `input_elements[i]` of it.
struct KernelCall {
  kernels::Call call;
  std::vector<const ir::Node*> input_nodes;
  std::vector<std::size_t> input_elements;
};
std::optional<KernelCall> to_kernel_call(const ir::Node& node, std::string* why);

}  // namespace monograph::cuda
