// A plugin for `monograph --plugin`: the pass `fast_gelu` gives every gelu the approximation by
// tanh, which is nearly right.
#include "capture/passes/pass.h"

namespace {

using namespace monograph;

passes::PassReport fast_gelu(ir::Graph& graph, passes::PassContext& /*context*/) {
  passes::PassReport report;
  for (ir::Node* node : graph.node_vector()) {
    if (!node->is_call("aten.gelu.default") || !node->kwargs().empty()) continue;
    graph.set_args(node, node->args(), {{"approximate", ir::Arg("tanh")}});
    ++report.changes;
  }
  return report;
}

const passes::Registration kPass({.name = "fast_gelu",
                                  .description = "gelu by tanh, which is not what forward says",
                                  .run = fast_gelu});

}  // namespace
