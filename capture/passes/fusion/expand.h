// Fusions that a back end can't run, taken apart again.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "capture/ir/cost.h"
#include "capture/ir/graph.h"

namespace monograph::passes {

/// Why a back end can't run this call of a fusion as one launch; empty if it can.
using Refusal = std::function<std::string(const ir::Node& call)>;

/// Replaces each fusion of `graph` that `refuse` refuses by smaller ones that it doesn't, or in the
/// end by its operators: first what stands side by side becomes fusions of their own, then calls
/// are left off at the end, then at the front. What was left off is offered to fuse_reductions and
/// fuse_pointwise once more. Subgraphs that nobody calls any more are removed. Returns a line for
/// each fusion that was taken apart, with the reason, and for each one made of the pieces. Asks at
/// most once per subgraph and argument types.
std::vector<std::string> expand_fusions(ir::Graph& graph, const Refusal& refuse,
                                        const ir::Rates& rates = {});

}  // namespace monograph::passes
