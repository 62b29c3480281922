// Attention with the copies and casts of its result: the kernel writes them where they
// are wanted, in the layout of the following projection.
#include <vector>

#include "capture/passes/fusion/groups.h"
#include "capture/passes/fusion/op_class.h"
#include "capture/passes/fusion/outline.h"
#include "capture/passes/pass.h"
#include "capture/passes/rewrite.h"

namespace monograph::passes {
namespace {

using ir::Node;

/// One element of the result for one element of attention's, whatever the order.
bool copies(const Node& node, const Node& attention) {
  const bool copy = is_aten(node, "clone") || is_aten(node, "_to_copy");
  return copy && op_class(node) == OpClass::kPointwise &&
         node.type().numel() == attention.type().numel() &&
         inputs_of(node)[0]->type().numel() == node.type().numel();
}

PassReport fuse_attention(ir::Graph& graph, PassContext&) {
  PassReport report;
  Groups groups(graph);
  for (Groups::Id i = 0; i < groups.size(); ++i) {
    const Node& node = groups.node(i);
    if (!node.is_call("aten.scaled_dot_product_attention.default") || groups.is_overwritten(i) ||
        !ir::is_repeatable(node)) {
      continue;
    }
    for (Groups::Id last = i;;) {
      if (groups.readers(last).size() != 1 || groups.is_output(last)) break;
      const Groups::Id next = groups.readers(last)[0];
      if (!copies(groups.node(next), node) || groups.is_overwritten(next) ||
          !groups.can_join(i, next)) {
        break;
      }
      groups.join(i, next);
      last = next;
    }
  }
  Outliner outliner(graph, ir::Rates::h200());
  for (const auto& members : groups.found()) outliner.outline(members, report);
  return report;
}

const Registration kRegistration{
    {"fuse_attention", "attention with the copies and casts of its result", fuse_attention}};

}  // namespace
}  // namespace monograph::passes
