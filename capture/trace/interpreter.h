// Runs a graph node by node with LibTorch's own operators: the meaning of a graph, for tests,
// constant folding and checks of fusions. Not fast.
#pragma once

#include <ATen/core/TensorBody.h>

#include <map>
#include <string>
#include <vector>

#include "capture/ir/graph.h"
#include "capture/trace/arguments.h"

namespace monograph::trace {

/// Outputs of `graph` for `inputs` (in placeholder order), under InferenceMode. `weights` by
/// get_attr target. Each result is compared with the graph's dtype and sizes.
/// Throws Error(kInvalidArgument) for a wrong number of inputs and a missing weight,
/// Error(kInvalidGraph) naming the node for an unknown operator, arguments that don't fit it, an
/// operator that fails (its words are `driver_text`) or a result of another type than recorded.
std::vector<at::Tensor> interpret(const ir::Graph& graph,
                                  const std::map<std::string, at::Tensor>& weights,
                                  const std::vector<at::Tensor>& inputs);

/// The results of one operator call (no getitem, no fusion), without the comparison.
std::vector<at::Tensor> run_call(const ir::Node& node, const Resolver& resolve);

}  // namespace monograph::trace
