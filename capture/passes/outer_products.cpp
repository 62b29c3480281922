// Products of columns with rows, such as positions with the frequencies of a rotary embedding:
// sums of one product each, written as pointwise products, which fuse with their surroundings.
//
// A product of -0 and a positive number is -0 afterwards; a sum that starts at 0 made it 0.
#include <fmt/format.h>

#include <utility>
#include <vector>

#include "capture/passes/pass.h"
#include "capture/passes/rewrite.h"

namespace monograph::passes {
namespace {

using ir::Arg;
using ir::Node;

/// a[..., M, 1] b[..., 1, N] of equal leading dimensions, dense.
bool is_outer(const Node& node) {
  if (!node.is_call("aten.bmm.default") && !node.is_call("aten.mm.default")) return false;
  const Node* a = node_arg(node, 0);
  const Node* b = node_arg(node, 1);
  if (a == nullptr || b == nullptr || node.args().size() != 2 || !node.has_tensor()) return false;
  const ir::TensorType& type = node.type();
  return a->has_tensor() && b->has_tensor() && a->type().sizes.back() == 1 &&
         a->type().dtype == type.dtype && b->type().dtype == type.dtype &&
         ir::is_floating(type.dtype) && type.is_contiguous() && node.writes().empty();
}

PassReport outer_products(ir::Graph& graph, PassContext&) {
  PassReport report;
  for (Node* node : nodes_where(graph, is_outer)) {
    report.notes.push_back(fmt::format("%{} is a product of single elements", node->name()));
    graph.set_target(node, "aten.mul.Tensor");
    ++report.changes;
  }
  return report;
}

const Registration kRegistration{
    {"outer_products", "products of columns with rows as pointwise products", outer_products}};

}  // namespace
}  // namespace monograph::passes
