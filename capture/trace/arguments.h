// From IR arguments to the boxed arguments of a LibTorch operator.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <functional>
#include <string_view>
#include <vector>

#include "capture/ir/graph.h"

namespace monograph::trace {

/// The tensors of a node's result, in order; undefined for results that don't exist.
using Resolver = std::function<const std::vector<at::Tensor>&(const ir::Node&)>;

/// The operator that `node` calls. Error(kInvalidGraph) naming the node if there is none.
c10::OperatorHandle operator_of(const ir::Node& node);

/// Arguments of `node` in the order of the operator's schema: positional ones, then by name, then
/// defaults. Numbers that stand for tensors become wrapped numbers, single values that stand for
/// fixed-length lists are repeated. Error(kInvalidGraph) naming the node for what doesn't fit.
torch::jit::Stack bind_arguments(const ir::Node& node, const c10::FunctionSchema& schema,
                                 const Resolver& resolve);

/// Makes `stack` what one call takes of `args`. Lists of tensors are copied: there are operators
/// that write into the list they are given (aten._unsafe_masked_index puts clamped indices there),
/// which the next call would read.
void assign_for_call(torch::jit::Stack& stack, const torch::jit::Stack& args);

}  // namespace monograph::trace
