// zeros_like, ones_like and full_like take a shape that is known here: written as zeros, ones and
// full of that shape they depend on no input, so that they, and what follows from them alone, such
// as the embedding of token types that are all 0, are computed once.
#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "capture/passes/pass.h"
#include "capture/passes/rewrite.h"

namespace monograph::passes {
namespace {

using ir::Arg;
using ir::Node;

/// Operator and arguments without the tensor; an empty target if `node` is none of these.
std::pair<std::string_view, std::vector<Arg>> static_form(const Node& node) {
  const Arg sizes = node.has_tensor() ? Arg::ints(node.type().sizes) : Arg();
  if (node.is_call("aten.zeros_like.default")) return {"aten.zeros.default", {sizes}};
  if (node.is_call("aten.ones_like.default")) return {"aten.ones.default", {sizes}};
  if (node.is_call("aten.full_like.default") && node.args().size() > 1) {
    return {"aten.full.default", {sizes, node.args()[1]}};
  }
  return {};
}

PassReport static_fills(ir::Graph& graph, PassContext&) {
  PassReport report;
  for (Node* node : graph.node_vector()) {
    auto [target, args] = static_form(*node);
    if (target.empty() || !node->has_tensor() || !node->type().is_contiguous() ||
        !ir::owns_storage(graph, *node)) {
      continue;
    }
    const ir::TensorType& type = node->type();
    graph.set_target(node, std::string(target));
    graph.set_args(node, std::move(args), {{"dtype", type.dtype}, {"device", type.device}});
    report.notes.push_back(fmt::format("%{} is {}", node->name(), target));
    ++report.changes;
  }
  return report;
}

const Registration kRegistration{
    {"static_fills", "tensors filled with one number, independent of any input", static_fills}};

}  // namespace
}  // namespace monograph::passes
