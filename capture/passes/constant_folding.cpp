// Computes what depends on weights alone once, now, instead of at every replay.
//
// A call is folded if all its tensors come from parameters, buffers or constants (or it is a
// factory such as arange), it always gives the same result, and nobody writes that result later.
// Views of weights cost nothing and stay. The evaluator runs one node at a time on get_attr
// nodes, so a view in between is named for it temporarily.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
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

using Constants = std::vector<FoldedConstant>;

class Folder {
 public:
  Folder(Graph& graph, ConstantEvaluator& evaluator)
      : graph_(graph), evaluator_(evaluator), index_(graph) {}

  PassReport run() {
    for (Node* node : graph_.node_vector()) visit(node);
    for (std::size_t i = folded_.size(); i-- > 0;) {
      if (folded_[i]->users().empty()) graph_.erase(folded_[i]);
    }
    for (std::size_t i = made_.size(); i-- > 0;) drop_if_unused(made_[i]);
    return std::move(report_);
  }

 private:
  using Attrs = std::vector<Node*>;

  void visit(Node* node) {
    if (!depends_on_weights_alone(*node)) return;
    weight_only_.insert(node->id());
    if (node->kind() != ir::NodeKind::kCallFunction) return;
    if (node->is_call("operator.getitem")) {
      take_element(node);
    } else if (!is_view(*node) && results_fit(*node)) {
      if (auto constants = evaluate(*node, *node)) fold(node, *constants);
    }
  }

  // --- conditions ---

  bool depends_on_weights_alone(const Node& node) const {
    if (node.kind() == ir::NodeKind::kGetAttr) {
      return graph_.storage(node.storage()).kind != ir::StorageKind::kState && unwritten(node);
    }
    if (node.kind() != ir::NodeKind::kCallFunction || node.values().empty() ||
        !node.writes().empty() || !is_repeatable(node) || !unwritten(node)) {
      return false;
    }
    const bool known = node.target().starts_with("aten.") || node.is_call("operator.getitem");
    const std::vector<Node*> inputs = inputs_of(node);
    return known && std::all_of(inputs.begin(), inputs.end(),
                                [this](const Node* n) { return weight_only_.contains(n->id()); });
  }

  bool unwritten(const Node& node) const {
    return std::none_of(node.values().begin(), node.values().end(), [this](const ir::Value& v) {
      return v.storage != ir::kNoStorage && index_.written(v.storage);
    });
  }

  /// Each result is a fresh storage of its own, and a list is only taken apart.
  bool results_fit(const Node& node) const {
    for (const ir::Value& v : node.values()) {
      if (v.storage == ir::kNoStorage) return false;
      const std::vector<Node*> there = index_.values(v.storage);
      if (there.empty() || there.front() != &node) return false;
      const auto alike = [&v](const ir::Value& other) { return other.storage == v.storage; };
      if (std::count_if(node.values().begin(), node.values().end(), alike) != 1) return false;
    }
    return !node.is_list() ||
           std::all_of(node.users().begin(), node.users().end(),
                       [](const Node* user) { return user->is_call("operator.getitem"); });
  }

  // --- evaluation ---

  /// Runs `node` before `place`, with every argument given as a get_attr node.
  std::optional<Constants> evaluate(const Node& node, Node& place) {
    std::map<const Node*, Node*> attrs;  // looked up only
    std::map<ir::StorageId, ir::StorageId> moved;
    for (Node* input : inputs_of(node)) {
      Node* attr = attr_for(*input, 0, place);
      if (attr == nullptr) return std::nullopt;
      attrs[input] = attr;
      moved[input->storage()] = attr->storage();
    }
    const auto same = [](const auto& pair) { return pair.first == pair.second; };
    if (std::all_of(attrs.begin(), attrs.end(), same)) {
      return fitting(node, evaluator_.evaluate(node));
    }
    const auto replace = [&attrs](Node* n) { return attrs.at(n); };
    std::vector<Arg> args;
    for (const Arg& a : node.args()) args.push_back(map_nodes(a, replace));
    ir::Kwargs kwargs;
    for (const auto& [key, a] : node.kwargs()) kwargs.emplace_back(key, map_nodes(a, replace));
    const Graph::InsertionGuard guard(graph_, &place);
    ir::Results results{node.values(), node.is_list()};
    for (ir::Value& v : results.values) {
      const auto at = moved.find(v.storage);
      v.storage = at != moved.end() ? at->second : ir::kNoStorage;
    }
    Node* trial =
        graph_.call(node.target(), std::move(args), std::move(kwargs), std::move(results));
    auto constants = fitting(node, evaluator_.evaluate(*trial));
    graph_.erase(trial);
    return constants;
  }

  /// The evaluator's answer, if it agrees with what the trace saw. A view's strides may differ,
  /// since nobody but a call that is folded reads it.
  static std::optional<Constants> fitting(const Node& node, std::optional<Constants> constants) {
    if (!constants || constants->size() != node.values().size()) return std::nullopt;
    const bool view = is_view(node);
    for (std::size_t i = 0; i < constants->size(); ++i) {
      const ir::TensorType& has = (*constants)[i].type;
      const ir::TensorType& wants = node.values()[i].type;
      if (has.dtype != wants.dtype || has.sizes != wants.sizes || has.device != wants.device ||
          (!view && has != wants)) {
        return std::nullopt;
      }
    }
    return constants;
  }

  /// A get_attr node for element `element` of a weight-only value: itself, or one made for a view.
  /// nullptr if the evaluator declined.
  Node* attr_for(Node& node, std::size_t element, Node& place) {
    if (node.kind() == ir::NodeKind::kGetAttr) return &node;
    if (node.is_call("operator.getitem")) {
      const auto index = static_cast<std::size_t>(node.args()[1].as<std::int64_t>());
      return attr_for(*node_arg(node, 0), index, place);
    }
    auto found = attrs_.find(node.id());
    if (found == attrs_.end()) {
      Attrs attrs;
      if (is_view(node)) {
        if (auto constants = evaluate(node, place)) attrs = make_attrs(node, *constants, place);
      }
      found = attrs_.emplace(node.id(), std::move(attrs)).first;
    }
    return element < found->second.size() ? found->second[element] : nullptr;
  }

  Attrs make_attrs(const Node& node, const Constants& constants, Node& place) {
    const Graph::InsertionGuard guard(graph_, &place);
    Attrs attrs;
    for (const FoldedConstant& c : constants) {
      Node* attr = graph_.get_attr(c.attr, c.type, ir::StorageKind::kConstant, c.nbytes);
      copy_origin(node, *attr);
      index_.add(*attr, index_.position(place));
      weight_only_.insert(attr->id());
      attrs.push_back(attr);
      made_.push_back(attr);
    }
    return attrs;
  }

  // --- replacement ---

  void fold(Node* node, const Constants& constants) {
    const Attrs& attrs = attrs_[node->id()] = make_attrs(*node, constants, *node);
    for (std::size_t i = 0; i < attrs.size(); ++i) {
      report_.notes.push_back(fmt::format("%{} -> %{}: {}, {} bytes", node->name(),
                                          attrs[i]->name(), node->target(), constants[i].nbytes));
    }
    ++report_.changes;
    folded_.push_back(node);
    const std::vector<ir::Value> values = node->values();
    index_.forget(*node);
    for (std::size_t i = 0; i < attrs.size(); ++i) {
      index_.rehome(graph_, values[i].storage, attrs[i]->storage());
    }
    if (!node->is_list()) graph_.replace_all_uses(node, attrs[0]);
  }

  /// An element of a folded list.
  void take_element(Node* node) {
    const auto found = attrs_.find(node_arg(*node, 0)->id());
    const auto i = static_cast<std::size_t>(node->args()[1].as<std::int64_t>());
    if (found == attrs_.end() || is_view(*node_arg(*node, 0)) || i >= found->second.size()) return;
    graph_.replace_all_uses(node, found->second[i]);
    folded_.push_back(node);
  }

  /// Views made for the evaluator and steps on the way to a later constant.
  void drop_if_unused(Node* attr) {
    if (!attr->users().empty()) return;
    evaluator_.discard(attr->target());
    graph_.erase(attr);
  }

  Graph& graph_;
  ConstantEvaluator& evaluator_;
  ir::StorageIndex index_;
  std::set<std::int32_t> weight_only_;   // node ids
  std::map<std::int32_t, Attrs> attrs_;  // by node id: what a fold or a view became
  std::vector<Node*> made_;
  std::vector<Node*> folded_;
  PassReport report_;
};

PassReport constant_folding(Graph& graph, PassContext& context) {
  if (context.constants == nullptr) return {};
  return Folder(graph, *context.constants).run();
}

const Registration kRegistration{{"constant_folding",
                                  "compute what depends on weights alone once, ahead of time",
                                  constant_folding}};

}  // namespace
}  // namespace monograph::passes
