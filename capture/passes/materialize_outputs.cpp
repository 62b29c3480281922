// Gives every output a storage of its own, so that it can be written into the caller's memory:
// outputs that alias inputs, weights, each other or part of something are cloned. Runs last.
#include <fmt/format.h>

#include <set>
#include <utility>
#include <vector>

#include "capture/passes/pass.h"
#include "capture/passes/rewrite.h"

namespace monograph::passes {
namespace {

using ir::Arg;
using ir::Graph;
using ir::Node;
using ir::TensorType;

class Materializer {
 public:
  explicit Materializer(Graph& graph) : graph_(graph) {}

  PassReport run() {
    Node* output = graph_.output_node();
    if (output == nullptr) return {};
    const Graph::InsertionGuard guard(graph_, output);
    std::vector<Arg> args;
    for (const Arg& a : output->args()) args.push_back(leaf(a));
    if (report_.changes != 0) graph_.set_args(output, std::move(args), {});
    return std::move(report_);
  }

 private:
  Arg leaf(const Arg& arg) {
    if (const auto* list = arg.get_if<Arg::List>()) {
      Arg::List leaves;
      for (const Arg& a : *list) leaves.push_back(leaf(a));
      return leaves;
    }
    return arg.is_node() ? leaf(arg.node()) : arg;
  }

  Arg leaf(Node* node) {
    if (node->is_list()) return elements(node);
    if (!node->has_tensor() || !node->type().defined()) return node;
    if (owns_storage(graph_, *node) && taken_.insert(node->storage()).second) return node;
    return clone(node);
  }

  /// A list as a whole becomes a list of its elements.
  Arg elements(Node* list) {
    ++report_.changes;
    report_.notes.push_back(fmt::format("%{} taken apart", list->name()));
    Arg::List leaves;
    for (std::size_t i = 0; i < list->values().size(); ++i) {
      Node* element = graph_.getitem(list, static_cast<std::int64_t>(i));
      copy_origin(*list, *element);
      leaves.push_back(leaf(element));
    }
    return leaves;
  }

  /// Keeps the strides where they are dense, as eager returned them; otherwise row-major.
  Node* clone(Node* node) {
    TensorType type = node->type();
    type.offset = 0;
    const bool keep = is_dense(type) && !type.is_contiguous();
    if (!keep) type = TensorType::contiguous(type.dtype, type.sizes, type.device);
    const auto format = keep ? ir::MemoryFormat::kPreserve : ir::MemoryFormat::kContiguous;
    Node* copy = graph_.call("aten.clone.default", {Arg(node)}, {{"memory_format", format}},
                             ir::Results::tensor(std::move(type)));
    copy_origin(*node, *copy);
    taken_.insert(copy->storage());
    ++report_.changes;
    report_.notes.push_back(fmt::format("%{} -> %{}: {}", node->name(), copy->name(), why(*node)));
    return copy;
  }

  std::string why(const Node& node) const {
    const ir::Storage& storage = graph_.storage(node.storage());
    if (storage.kind != ir::StorageKind::kIntermediate) {
      return fmt::format("it is in the {} storage {}", storage_kind_name(storage.kind),
                         storage.name);
    }
    return owns_storage(graph_, node) ? "another output has this storage"
                                      : "it doesn't fill its storage";
  }

  Graph& graph_;
  std::set<ir::StorageId> taken_;
  PassReport report_;
};

PassReport materialize_outputs(Graph& graph, PassContext&) {
  return Materializer(graph).run();
}

const Registration kRegistration{
    {"materialize_outputs", "give every output a storage of its own", materialize_outputs}};

}  // namespace
}  // namespace monograph::passes
