// Convolutions with what libraries of convolutions do in the same launch: a sum with a tensor of
// the same size (the residual of a block), and ReLU.
#include <algorithm>

#include "capture/passes/fusion/groups.h"
#include "capture/passes/fusion/op_class.h"
#include "capture/passes/fusion/outline.h"
#include "capture/passes/pass.h"
#include "capture/passes/rewrite.h"

namespace monograph::passes {
namespace {

using ir::Node;
using Id = Groups::Id;

class Fuser {
 public:
  explicit Fuser(ir::Graph& graph) : graph_(graph), groups_(graph) {}

  PassReport run() {
    for (Id i = 0; i < groups_.size(); ++i) {
      const Node& node = groups_.node(i);
      if (is_aten(node, "conv2d") || node.is_call("aten.convolution.default")) grow(i);
    }
    Outliner outliner(graph_, ir::Rates::h200());
    for (const auto& members : groups_.found()) outliner.outline(members, report_);
    return std::move(report_);
  }

 private:
  void grow(Id conv) {
    if (groups_.is_overwritten(conv) || groups_.members(conv).size() != 1) return;
    Id last = take(conv, conv, [this](Id next, Id value) { return is_sum(next, value); });
    take(conv, last, [this](Id next, Id) { return is_aten(groups_.node(next), "relu"); });
  }

  /// Joins the only reader of `last` to the group of `conv` if it is what is looked for; the last
  /// member then.
  template <class Is>
  Id take(Id conv, Id last, Is is) {
    if (groups_.is_output(last) || groups_.readers(last).size() != 1) return last;
    const Id next = groups_.readers(last).front();
    const Node& node = groups_.node(next);
    const bool fits = groups_.members(next).size() == 1 && !groups_.is_overwritten(next) &&
                      op_class(node) == OpClass::kPointwise && !ir::is_view(node) &&
                      node.type() == groups_.node(last).type() && reads_whole(node, last) &&
                      is(next, last) && groups_.can_join(conv, next);
    if (!fits) return last;
    groups_.join(conv, next);
    return next;
  }

  /// `node` reads the result of `last` itself, once, not a view of it.
  bool reads_whole(const Node& node, Id last) const {
    std::size_t reads = 0;
    for (const Node* input : inputs_of(node)) {
      if (groups_.producer(*input) != last) continue;
      ++reads;
      if (input != &groups_.node(last)) return false;
    }
    return reads == 1;
  }

  bool is_sum(Id next, Id value) const {
    const Node& node = groups_.node(next);
    if (!node.is_call("aten.add.Tensor")) return false;
    const std::vector<Node*> inputs = inputs_of(node);
    return inputs.size() == 2 && std::all_of(inputs.begin(), inputs.end(), [&](const Node* n) {
             return n->type().sizes == node.type().sizes &&
                    n->type().strides == groups_.node(value).type().strides;
           });
  }

  ir::Graph& graph_;
  Groups groups_;
  PassReport report_;
};

PassReport fuse_convolution(ir::Graph& graph, PassContext&) {
  return Fuser(graph).run();
}

const Registration kRegistration{
    {"fuse_convolution", "convolutions with the sum and the ReLU after them", fuse_convolution}};

}  // namespace
}  // namespace monograph::passes
