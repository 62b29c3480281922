#include "capture/ir/verify.h"

#include <monograph/error.h>

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "capture/ir/extent.h"
#include "capture/ir/spelling.h"
#include "capture/ir/text.h"

namespace monograph::ir {
namespace {

bool is_weight(StorageKind kind) noexcept {
  return kind != StorageKind::kInput && kind != StorageKind::kIntermediate;
}

std::size_t depth_of(const Arg& arg) {
  std::size_t depth = 0;
  if (const auto* list = arg.get_if<Arg::List>()) {
    for (const Arg& a : *list) depth = std::max(depth, depth_of(a));
    ++depth;
  }
  return depth;
}

/// "ns.op.overload", each an identifier.
bool is_operator_name(std::string_view target) {
  std::size_t parts = 1;
  std::size_t dot = target.find('.');
  for (; dot != std::string_view::npos; dot = target.find('.')) {
    if (!is_identifier(target.substr(0, dot))) return false;
    target.remove_prefix(dot + 1);
    ++parts;
  }
  return parts == 3 && is_identifier(target);
}

template <class Fn>
void for_each_argument(const Node& node, Fn fn) {
  for (const Arg& a : node.args()) for_each_node(a, fn);
  for (const auto& [key, a] : node.kwargs()) for_each_node(a, fn);
}

class Verifier {
 public:
  Verifier(const Graph& graph, std::string where, std::size_t depth)
      : graph_(graph), where_(std::move(where)), depth_(depth), seen_(graph.storages().size()) {}

  void run() {
    if (depth_ > kMaxNesting) fail("more than 64 nested graphs");
    if (graph_.name().size() > kMaxNameBytes) fail("the graph's name is longer than 4096 bytes");
    for (const auto& [name, sub] : graph_.subgraphs()) {
      const std::string where = where_ + "in subgraph " + quoted(name) + ": ";
      if (name.empty() || name.size() > kMaxNameBytes)
        fail("a subgraph's name is empty or too long");
      Verifier(*sub, where, depth_ + 1).run();
    }
    for (const auto& node : graph_.nodes()) {
      check(*node);
      earlier_.insert(node.get());
    }
    check_users();
    check_end();
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(Code::kInvalidGraph, where_ + message);
  }
  [[noreturn]] void fail(const Node& node, const std::string& message) const {
    throw Error(Code::kInvalidGraph, where_ + message, node.name());
  }

  void check(const Node& node) {
    check_name(node);
    check_order(node);
    check_target(node);
    check_shape_of_call(node);
    check_arguments(node);
    check_values(node);
    check_storages(node);
    check_writes(node);
    if (node.is_call("operator.getitem")) check_getitem(node);
    if (is_fusion(node)) check_fusion(node);
    if (node.kind() == NodeKind::kPlaceholder || node.kind() == NodeKind::kGetAttr) {
      check_source(node);
    }
  }

  static bool is_fusion(const Node& node) {
    return node.kind() == NodeKind::kCallFunction && node.target().starts_with("fusion.");
  }

  // --- names, order, targets ---

  void check_name(const Node& node) {
    if (!is_identifier(node.name()) || node.name().size() > kMaxNameBytes) {
      fail(node, "a node's name must be letters, digits and underscores, at most 4096");
    }
    if (!names_.insert(node.name()).second) fail(node, "two nodes have this name");
    if (graph_.find(node.name()) != &node) fail(node, "the graph doesn't find the node by name");
  }

  void check_order(const Node& node) {
    if (&node.graph() != &graph_) fail(node, "the node belongs to another graph");
    if (output_ != nullptr) fail(node, "the node comes after the output");
    switch (node.kind()) {
      case NodeKind::kPlaceholder:
        if (past_placeholders_) fail(node, "a placeholder must come before all other nodes");
        return;
      case NodeKind::kGetAttr:
      case NodeKind::kCallFunction:
        past_placeholders_ = true;
        return;
      case NodeKind::kOutput:
        output_ = &node;
        return;
    }
  }

  void check_target(const Node& node) const {
    const std::string& target = node.target();
    if (target.empty() || target.size() > kMaxNameBytes) {
      fail(node, "a target must have 1 to 4096 bytes");
    }
    if (node.kind() == NodeKind::kOutput && target != "output") {
      fail(node, "the output's target must be \"output\", not " + quoted(target));
    }
    if (node.kind() != NodeKind::kCallFunction || target == "operator.getitem") return;
    if (is_fusion(node)) {
      if (graph_.subgraph(target.substr(7)) == nullptr) {
        fail(node, "there is no subgraph " + quoted(target.substr(7)));
      }
    } else if (!is_operator_name(target)) {
      fail(node, "target " + quoted(target) +
                     " is none of ns.op.overload, operator.getitem, fusion.NAME");
    }
  }

  /// Which kinds of node may have arguments, keywords, results and writes at all.
  void check_shape_of_call(const Node& node) const {
    const bool is_call = node.kind() == NodeKind::kCallFunction;
    const bool is_output = node.kind() == NodeKind::kOutput;
    const std::string kind(node_kind_name(node.kind()));
    if (!is_call && !is_output && !node.args().empty()) fail(node, "a " + kind + " has no args");
    if (!is_call && !node.kwargs().empty()) fail(node, "a node of kind " + kind + " has no kwargs");
    if (is_output && (node.is_list() || !node.values().empty()))
      fail(node, "an output has no result");
    if (!is_call && !is_output && !(node.has_tensor() && node.type().defined())) {
      fail(node, "a " + kind + " must have one defined tensor");
    }
    if (!node.is_list() && node.values().size() > 1) {
      fail(node, "a call with several results must return a list");
    }
  }

  // --- arguments and users ---

  void check_arguments(const Node& node) {
    for (const Arg& a : node.args()) check_argument(node, a);
    std::set<std::string_view> keys;
    for (const auto& [key, a] : node.kwargs()) {
      if (key.empty() || key.size() > kMaxNameBytes) fail(node, "a keyword is empty or too long");
      if (!keys.insert(key).second) fail(node, "keyword " + quoted(key) + " is given twice");
      check_argument(node, a);
    }
    for (const Node* w : node.writes()) check_use(node, w);
  }

  void check_argument(const Node& node, const Arg& arg) {
    if (depth_of(arg) > kMaxNesting) fail(node, "an argument has more than 64 nested lists");
    for_each_node(arg, [&](const Node* used) { check_use(node, used); });
  }

  void check_use(const Node& node, const Node* used) {
    if (used == nullptr) fail(node, "an argument is a null node");
    if (!earlier_.contains(used)) {
      fail(node, "an argument isn't a node that comes before this one in this graph");
    }
    std::vector<const Node*>& users = users_[used];
    if (users.empty() || users.back() != &node) users.push_back(&node);
  }

  void check_users() {
    for (const auto& node : graph_.nodes()) {
      std::vector<const Node*>& expected = users_[node.get()];
      std::sort(expected.begin(), expected.end(),
                [](const Node* a, const Node* b) { return a->id() < b->id(); });
      const auto& users = node->users();
      if (!std::equal(expected.begin(), expected.end(), users.begin(), users.end())) {
        fail(*node, "the list of users doesn't agree with the arguments of other nodes");
      }
    }
  }

  void check_end() const {
    if (output_ == nullptr) fail("graph " + quoted(graph_.name()) + " has no output");
    if (graph_.output_node() != output_) fail(*output_, "the graph has another output node");
  }

  // --- values and storages ---

  void check_values(const Node& node) const {
    for (const Value& v : node.values()) {
      check_type(node, v.type);
      if (v.type.defined() != (v.storage != kNoStorage)) {
        fail(node, "a result must have a storage if and only if it is defined");
      }
      if (v.storage == kNoStorage) continue;
      if (v.storage < 0 || static_cast<std::size_t>(v.storage) >= seen_.size()) {
        fail(node, "storage id " + std::to_string(v.storage) + " is out of range");
      }
      const Storage& s = graph_.storage(v.storage);
      const std::int64_t extent = checked_extent(v.type).value_or(0);
      if (extent > s.nbytes) {
        fail(node, text(v.type) + " ends at byte " + std::to_string(extent) + " of a storage of " +
                       std::to_string(s.nbytes) + " bytes");
      }
      if (v.type.device != s.device) {
        fail(node, text(v.type) + " lives in a storage on " + short_device(s.device));
      }
    }
  }

  void check_type(const Node& node, const TensorType& type) const {
    const auto negative = [](std::int64_t n) { return n < 0; };
    if (type.sizes.size() != type.strides.size()) {
      fail(node, "a result has " + std::to_string(type.sizes.size()) + " sizes and " +
                     std::to_string(type.strides.size()) + " strides");
    }
    if (std::any_of(type.sizes.begin(), type.sizes.end(), negative)) {
      fail(node, "a size is negative: " + text(type));
    }
    if (std::any_of(type.strides.begin(), type.strides.end(), negative)) {
      fail(node, "a stride is negative: " + text(type));
    }
    if (type.offset < 0) fail(node, "an offset is negative: " + text(type));
    if (!checked_extent(type)) fail(node, "64 bits can't count the bytes of " + text(type));
  }

  void check_storages(const Node& node) {
    for (const Value& v : node.values()) {
      if (v.storage == kNoStorage) continue;
      const bool first = !seen_[static_cast<std::size_t>(v.storage)];
      seen_[static_cast<std::size_t>(v.storage)] = true;
      check_storage(node, graph_.storage(v.storage), first);
    }
  }

  void check_storage(const Node& node, const Storage& storage, bool first) const {
    const std::string what =
        std::string(storage_kind_name(storage.kind)) + " storage " + quoted(storage.name);
    if (storage.name.size() > kMaxNameBytes) fail(node, "a storage's name is too long");
    if (node.kind() == NodeKind::kPlaceholder) {
      if (!first) fail(node, "a placeholder shares a storage with an earlier node");
      if (storage.kind != StorageKind::kInput) fail(node, "a placeholder defines the " + what);
    } else if (node.kind() == NodeKind::kGetAttr) {
      if (!is_weight(storage.kind)) fail(node, "a get_attr reads the " + what);
    } else if (first && storage.kind != StorageKind::kIntermediate) {
      fail(node, "the " + what + " is used before a placeholder or get_attr defines it");
    }
  }

  /// Targets of placeholders differ; get_attr nodes of one target read the same tensor.
  void check_source(const Node& node) {
    if (node.kind() == NodeKind::kPlaceholder) {
      if (!inputs_.insert(node.target()).second) {
        fail(node, "two placeholders have the target " + quoted(node.target()));
      }
      return;
    }
    const Node* earlier = attrs_.emplace(node.target(), &node).first->second;
    if (earlier->value() != node.value()) {
      fail(node,
           "%" + earlier->name() + " reads another tensor by the name " + quoted(node.target()));
    }
  }

  // --- calls ---

  void check_writes(const Node& node) const {
    if (node.writes().empty()) return;
    if (node.kind() != NodeKind::kCallFunction) fail(node, "only calls write");
    std::set<const Node*> arguments;  // asked only, never iterated
    for_each_argument(node, [&](const Node* n) { arguments.insert(n); });
    for (const Node* w : node.writes()) {
      if (!arguments.contains(w)) fail(node, "writes %" + w->name() + ", which is no argument");
      if (w->values().empty()) fail(node, "writes %" + w->name() + ", which has no tensor");
      for (const Value& v : w->values()) {
        if (v.storage == kNoStorage) fail(node, "writes %" + w->name() + ", which is undefined");
        const Storage& s = graph_.storage(v.storage);
        // A fusion may write an argument; its calls say so, and what they give it is checked there.
        const bool argument = s.kind == StorageKind::kInput && depth_ > 1;
        if (s.kind != StorageKind::kIntermediate && s.kind != StorageKind::kState && !argument) {
          fail(node, "writes %" + w->name() + " in the " + std::string(storage_kind_name(s.kind)) +
                         " storage " + quoted(s.name));
        }
      }
    }
  }

  void check_getitem(const Node& node) const {
    const auto& args = node.args();
    if (args.size() != 2 || !args[0].is_node() || !args[1].is<std::int64_t>() ||
        !node.kwargs().empty()) {
      fail(node, "operator.getitem takes a list and an index");
    }
    const Node& list = *args[0].node();
    const std::int64_t index = args[1].as<std::int64_t>();
    if (!list.is_list()) fail(node, "%" + list.name() + " is no list");
    if (index < 0 || static_cast<std::size_t>(index) >= list.values().size()) {
      fail(node, "index " + std::to_string(index) + " is outside %" + list.name() + " of length " +
                     std::to_string(list.values().size()));
    }
    const Value& element = list.values()[static_cast<std::size_t>(index)];
    if (!node.has_tensor() || node.value() != element) {
      fail(node, "the result differs from element " + std::to_string(index) + " of %" +
                     list.name() + ", " + text(element.type) + ", in type or storage");
    }
  }

  void check_fusion(const Node& node) const {
    const Graph& sub = *graph_.subgraph(node.target().substr(7));
    const std::vector<Node*> inputs = sub.placeholders();
    if (!node.kwargs().empty()) fail(node, "a fusion takes no kwargs");
    check_count(node, "arguments", node.args().size(), inputs.size());
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const Arg& arg = node.args()[i];
      if (!arg.is_node() || !arg.node()->has_tensor()) {
        fail(node, "argument " + std::to_string(i) + " of a fusion must be a tensor");
      }
      check_like(node, "argument " + std::to_string(i), arg.node()->type(), inputs[i]->type());
      const auto& writes = node.writes();
      if (is_written(sub, inputs[i]->storage()) &&
          std::find(writes.begin(), writes.end(), arg.node()) == writes.end()) {
        fail(node, "its subgraph writes argument " + std::to_string(i) + ", which it doesn't say");
      }
    }
    std::vector<const Node*> outputs;
    for (const Arg& a : sub.output_node()->args()) collect_outputs(node, a, outputs);
    check_count(node, "results", node.values().size(), outputs.size());
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      check_like(node, "result " + std::to_string(i), node.values()[i].type, outputs[i]->type());
    }
  }

  static bool is_written(const Graph& graph, StorageId id) {
    for (const auto& node : graph.nodes()) {
      for (const Node* target : node->writes()) {
        for (const Value& v : target->values()) {
          if (v.storage == id) return true;
        }
      }
    }
    return false;
  }

  void collect_outputs(const Node& node, const Arg& arg, std::vector<const Node*>& outputs) const {
    if (const auto* list = arg.get_if<Arg::List>()) {
      for (const Arg& a : *list) collect_outputs(node, a, outputs);
    } else if (arg.is_node() && arg.node()->has_tensor()) {
      outputs.push_back(arg.node());
    } else {
      fail(node, "its subgraph returns " + text(arg) + ", which is no tensor");
    }
  }

  void check_count(const Node& node, const char* what, std::size_t has, std::size_t wants) const {
    if (has == wants) return;
    fail(node,
         "has " + std::to_string(has) + " " + what + ", its subgraph " + std::to_string(wants));
  }

  void check_like(const Node& node, const std::string& what, const TensorType& has,
                  const TensorType& wants) const {
    if (has.dtype == wants.dtype && has.sizes == wants.sizes) return;
    fail(node, what + " is " + text(has) + ", in its subgraph " + text(wants));
  }

  const Graph& graph_;
  std::string where_;  // prefix of messages: the subgraph
  std::size_t depth_;
  std::vector<bool> seen_;  // by storage id: some value lives there
  bool past_placeholders_ = false;
  const Node* output_ = nullptr;
  std::set<std::string_view> names_;
  std::set<std::string_view> inputs_;
  std::map<std::string_view, const Node*> attrs_;
  // Looked up only, never iterated.
  std::unordered_set<const Node*> earlier_;
  std::unordered_map<const Node*, std::vector<const Node*>> users_;
};

}  // namespace

void verify(const Graph& graph) {
  Verifier(graph, "", 1).run();
}

}  // namespace monograph::ir
