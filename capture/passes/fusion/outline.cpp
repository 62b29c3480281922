#include "capture/passes/fusion/outline.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "capture/ir/analysis.h"
#include "capture/ir/text.h"
#include "capture/passes/rewrite.h"

namespace monograph::passes {
namespace {

using ir::Arg;
using ir::Graph;
using ir::Node;
using ir::StorageId;

using NodeMap = std::unordered_map<const Node*, Node*>;  // looked up only, never iterated
using StorageMap = std::map<StorageId, StorageId>;

std::vector<StorageId> storages_of(const Node& node) {
  std::vector<StorageId> ids;
  for (const ir::Value& v : node.values()) {
    if (v.storage != ir::kNoStorage) ids.push_back(v.storage);
  }
  return ids;
}

bool contains(const std::set<StorageId>& set, const std::vector<StorageId>& ids) {
  return std::any_of(ids.begin(), ids.end(), [&](StorageId id) { return set.contains(id); });
}

/// A fusion that isn't part of the graph yet.
struct Draft {
  Graph body;
  std::vector<Arg> args;
  std::vector<Node*> writes;
  std::vector<Node*> results;  ///< members, in order
};

/// Copies members, and views of what they make, into a graph of their own.
class Drafter {
 public:
  explicit Drafter(const std::vector<Node*>& members) : members_(members) {
    for (const Node* m : members) {
      inside_.insert(m);
      if (m->writes().empty()) made_.insert(m->storage());
    }
  }

  Draft run() {
    for (Node* m : members_) {
      for (Node* input : inputs_of(*m)) (void)value_of(input);
      copy(m);
      for (Node* w : m->writes()) draft_.writes.push_back(w);
      if (is_needed_outside(*m)) draft_.results.push_back(m);
    }
    if (draft_.results.empty()) draft_.results.push_back(members_.back());
    std::vector<Arg> leaves;
    for (const Node* r : draft_.results) leaves.emplace_back(map_.at(r));
    draft_.body.output(std::move(leaves));
    return std::move(draft_);
  }

 private:
  bool is_view_of_inside(const Node& node) const {
    if (node.kind() != ir::NodeKind::kCallFunction || !ir::is_view(node)) return false;
    const std::vector<StorageId> ids = storages_of(node);
    return std::all_of(ids.begin(), ids.end(), [&](StorageId id) { return made_.contains(id); });
  }

  /// The node in the body that stands for `node`, made if need be.
  Node* value_of(Node* node) {
    const auto at = map_.find(node);
    if (at != map_.end()) return at->second;
    if (is_view_of_inside(*node)) {
      for (Node* input : inputs_of(*node)) (void)value_of(input);
      return copy(node);
    }
    ir::TensorType type = node->type();
    type.offset = 0;
    const Graph::InsertionGuard guard(draft_.body, first_call_);
    Node* input = draft_.body.placeholder(fmt::format("in_{}", draft_.args.size()), type);
    draft_.args.emplace_back(node);
    return map_[node] = input;
  }

  Node* copy(Node* node) {
    const auto map = [this](Node* n) { return value_of(n); };
    std::vector<Arg> args;
    for (const Arg& a : node->args()) args.push_back(map_nodes(a, map));
    ir::Kwargs kwargs;
    for (const auto& [key, a] : node->kwargs()) kwargs.emplace_back(key, map_nodes(a, map));
    std::vector<Node*> writes;
    for (Node* w : node->writes()) writes.push_back(value_of(w));
    ir::Results results{node->values(), node->is_list()};
    for (ir::Value& v : results.values) {
      if (!node->writes().empty()) {  // in place: the written argument, from its own start
        v = writes.front()->value();
        continue;
      }
      const auto known = storages_.find(v.storage);
      v.storage = known != storages_.end() ? known->second : ir::kNoStorage;
    }
    Node* made = draft_.body.call(node->target(), std::move(args), std::move(kwargs),
                                  std::move(results), std::move(writes));
    if (first_call_ == nullptr) first_call_ = made;
    made->traits = node->traits;
    for (std::size_t i = 0; i < node->values().size(); ++i) {
      storages_.emplace(node->values()[i].storage, made->values()[i].storage);
    }
    return map_[node] = made;
  }

  /// Used by a launch that isn't a member, or by the output, through views or not.
  bool is_needed_outside(const Node& node) const {
    if (!node.writes().empty()) return false;  // users read the state itself
    std::vector<const Node*> reach{&node};
    for (std::size_t i = 0; i < reach.size(); ++i) {
      for (const Node* user : reach[i]->users()) {
        if (inside_.contains(user)) continue;
        if (user->kind() != ir::NodeKind::kCallFunction || !ir::is_view(*user)) return true;
        reach.push_back(user);
      }
    }
    return false;
  }

  const std::vector<Node*>& members_;
  std::set<const Node*> inside_;  // asked only, never iterated
  std::set<StorageId> made_;
  Node* first_call_ = nullptr;
  NodeMap map_;
  StorageMap storages_;
  Draft draft_;
};

/// Nodes between the first and the last member that must come after the fusion, in order.
/// `legal` becomes false if a member needs one of them.
class Followers {
 public:
  Followers(Graph& graph, const std::vector<Node*>& members) {
    std::set<const Node*> inside(members.begin(), members.end());
    for (Node* n = members.front(); legal && n != nullptr; n = graph.next(n)) {
      if (inside.contains(n)) {
        visit_member(*n);
      } else {
        visit(*n);
      }
      if (n == members.back()) break;
    }
  }

  bool legal = true;
  std::vector<Node*> nodes;

 private:
  void visit_member(const Node& node) {
    for (const Node* input : inputs_of(node)) {
      if (contains(late_, storages_of(*input))) legal = false;
      for (const StorageId id : storages_of(*input)) read_.insert(id);
    }
    note_results(node);
    followed_.insert(&node);
  }

  void visit(Node& node) {
    const std::vector<Node*> inputs = inputs_of(node);
    bool follows = std::any_of(inputs.begin(), inputs.end(),
                               [this](const Node* n) { return followed_.contains(n); });
    const bool launch = node.kind() == ir::NodeKind::kCallFunction && !ir::is_view(node);
    if (launch) {
      for (const Node* input : inputs) follows = follows || contains(written_, storages_of(*input));
      for (const Node* target : node.writes()) {
        const std::vector<StorageId> ids = storages_of(*target);
        follows = follows || contains(written_, ids) || contains(read_, ids);
      }
    }
    if (!follows) return;
    nodes.push_back(&node);
    followed_.insert(&node);
    if (!launch) return;
    for (const Node* input : inputs) {
      for (const StorageId id : storages_of(*input)) read_.insert(id);
    }
    note_results(node);
    for (const StorageId id : storages_of(node)) late_.insert(id);
    for (const Node* target : node.writes()) {
      for (const StorageId id : storages_of(*target)) late_.insert(id);
    }
  }

  void note_results(const Node& node) {
    for (const StorageId id : storages_of(node)) written_.insert(id);
    for (const Node* target : node.writes()) {
      for (const StorageId id : storages_of(*target)) written_.insert(id);
    }
  }

  std::set<const Node*> followed_;      // members and followers; asked only, never iterated
  std::set<StorageId> read_, written_;  // by members and followers
  std::set<StorageId> late_;            // made or written by followers
};

/// What the fusion writes, one operator writes and no other touches, since there is no order
/// inside; but attention may read it afterwards, whose kernel sees to that.
bool writes_are_apart(const Draft& draft, const std::vector<Node*>& members) {
  for (const Node* w : draft.writes) {
    const auto shares = [w](const Arg& a) {
      return a.node() != w && a.node()->storage() == w->storage();
    };
    if (std::any_of(draft.args.begin(), draft.args.end(), shares)) return false;
    int writers = 0;
    for (const Node* m : members) {
      const std::vector<Node*> inputs = inputs_of(*m);
      const auto touched = [w](const Node* n) { return n->storage() == w->storage(); };
      if (std::none_of(inputs.begin(), inputs.end(), touched)) continue;
      if (!m->writes().empty()) {
        if (++writers > 1) return false;
      } else if (writers == 0 || !m->is_call("aten.scaled_dot_product_attention.default")) {
        return false;
      }
    }
  }
  return true;
}

std::string_view op_name(const Node& node) {
  const auto target = split_target(node.target());
  std::string_view op = target ? target->op : std::string_view(node.target());
  while (op.starts_with('_')) op.remove_prefix(1);
  while (op.ends_with('_')) op.remove_suffix(1);
  return op;
}

/// "linear_gelu"; long chains are cut, repeated operators named once.
std::string base_name(const std::vector<Node*>& members) {
  constexpr std::size_t kLongest = 48;
  std::string name;
  std::string_view last;
  for (const Node* m : members) {
    std::string_view op = op_name(*m);
    if (op == "scaled_dot_product_attention") op = "attention";
    if (op == "to_copy") op = "cast";
    if (op == last) continue;
    last = op;
    if (name.size() + op.size() > kLongest) return name + "_etc";
    if (!name.empty()) name += '_';
    name += op;
  }
  return name;
}

ir::Results results_of(const Draft& draft) {
  std::vector<ir::Value> values;
  for (const Node* r : draft.results) values.push_back(r->value());
  if (values.size() == 1) return {std::move(values), false};
  return ir::Results::list(std::move(values));
}

/// Erases what nobody uses, users before what they use.
void erase_unused(Graph& graph, std::vector<Node*> nodes) {
  for (bool changed = true; changed;) {
    changed = false;
    for (std::size_t i = nodes.size(); i-- > 0;) {
      if (!nodes[i]->users().empty()) continue;
      graph.erase(nodes[i]);
      nodes.erase(nodes.begin() + static_cast<std::ptrdiff_t>(i));
      changed = true;
    }
  }
}

/// Views, direct or not, of what members make, in order of discovery: users after what they use.
std::vector<Node*> views_of(const std::vector<Node*>& members) {
  std::vector<Node*> views;
  std::set<const Node*> seen(members.begin(), members.end());
  const auto add_users = [&](const Node& node) {
    for (Node* user : node.users()) {
      if (user->kind() == ir::NodeKind::kCallFunction && ir::is_view(*user) &&
          seen.insert(user).second) {
        views.push_back(user);
      }
    }
  };
  for (const Node* m : members) add_users(*m);
  for (std::size_t i = 0; i < views.size(); ++i) add_users(*views[i]);
  return views;
}

/// Uses of members by others become uses of the fusion's results, or of the state they wrote.
void redirect(Graph& graph, const std::vector<Node*>& members, const Draft& draft, Node* call) {
  std::map<const Node*, Node*> instead;
  for (std::size_t i = 0; i < draft.results.size(); ++i) {
    instead[draft.results[i]] =
        call->is_list() ? graph.getitem(call, static_cast<std::int64_t>(i)) : call;
  }
  for (Node* m : members) {
    const auto at = instead.find(m);
    if (at != instead.end()) {
      graph.replace_all_uses(m, at->second);
    } else if (!m->writes().empty()) {
      graph.replace_all_uses(m, m->writes().front());
    }
  }
}

}  // namespace

Outliner::Outliner(Graph& graph, const ir::Rates& rates) : graph_(graph), rates_(rates) {
  for (const auto& [name, body] : graph.subgraphs()) {
    Graph copy = body->clone();
    copy.set_name("body");
    known_.emplace(ir::text(copy), name);
  }
}

std::string Outliner::name_for(Graph& body, const std::vector<Node*>& members) {
  body.set_name("body");
  std::string& name = known_[ir::text(body)];
  if (!name.empty()) return name;
  const std::string base = base_name(members);
  name = base;
  for (int i = 1; graph_.subgraph(name) != nullptr; ++i) name = fmt::format("{}_{}", base, i);
  graph_.add_subgraph(name, std::move(body));
  return name;
}

Node* Outliner::outline_call(const std::vector<Node*>& members, PassReport& report) {
  const Followers followers(graph_, members);
  if (!followers.legal) return nullptr;
  Draft draft = Drafter(members).run();
  if (!writes_are_apart(draft, members)) return nullptr;

  double before = 0;
  for (const Node* m : members) {
    before += ir::work_us(ir::cost_of(*m), rates_) + rates_.boundary_us;
  }
  const std::string description = names({members.begin(), members.end()});
  const std::size_t bodies = graph_.subgraphs().size();
  const std::string name = name_for(draft.body, members);
  const Graph::InsertionGuard guard(graph_, members.back());
  Node* call = graph_.call("fusion." + name, draft.args, {}, results_of(draft), draft.writes);
  const double after = ir::work_us(ir::cost_of(*call), rates_) + rates_.boundary_us;
  if (after > before) {
    graph_.erase(call);
    if (graph_.subgraphs().size() > bodies) {
      std::erase_if(known_, [&](const auto& entry) { return entry.second == name; });
      graph_.erase_subgraph(name);
    }
    report.notes.push_back(
        fmt::format("{} stay apart: {:.2f} us now, {:.2f} us as one", description, before, after));
    return nullptr;
  }
  copy_origin(*members.back(), *call);
  std::vector<Node*> views = views_of(members);
  redirect(graph_, members, draft, call);
  Node* const behind = graph_.next(members.back());
  for (Node* n : followers.nodes) graph_.move_before(n, behind);
  views.insert(views.begin(), members.begin(), members.end());
  erase_unused(graph_, std::move(views));
  report.notes.push_back(fmt::format("%{} = {}: {:.2f} -> {:.2f} us, {} -> 1 launches",
                                     call->name(), description, before, after, members.size()));
  ++report.changes;
  return call;
}

std::vector<Node*> inline_fusion(Graph& graph, Node* call) {
  const Graph& body = *graph.subgraph(std::string_view(call->target()).substr(7));
  const Graph::InsertionGuard guard(graph, call);
  std::vector<Node*> launches;
  NodeMap map;
  StorageMap storages;
  std::map<StorageId, std::int64_t> shift;  // by the body's storage: where it starts in ours
  const std::vector<Node*> inputs = body.placeholders();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    Node* arg = call->args()[i].node();
    map[inputs[i]] = arg;
    storages[inputs[i]->storage()] = arg->storage();
    shift[inputs[i]->storage()] = arg->type().offset - inputs[i]->type().offset;
  }
  const std::vector<Node*> leaves = ir::output_leaves(body);
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    storages.emplace(leaves[i]->storage(), call->values()[i].storage);
  }
  const auto replace = [&map](Node* n) { return map.at(n); };
  for (const auto& node : body.nodes()) {
    if (node->kind() != ir::NodeKind::kCallFunction) continue;
    std::vector<Arg> args;
    for (const Arg& a : node->args()) args.push_back(map_nodes(a, replace));
    ir::Kwargs kwargs;
    for (const auto& [key, a] : node->kwargs()) kwargs.emplace_back(key, map_nodes(a, replace));
    std::vector<Node*> writes;
    for (Node* w : node->writes()) writes.push_back(map.at(w));
    ir::Results results{node->values(), node->is_list()};
    for (ir::Value& v : results.values) {
      const auto moved = shift.find(v.storage);
      if (moved != shift.end()) v.type.offset += moved->second;
      const auto known = storages.find(v.storage);
      v.storage = known != storages.end() ? known->second : ir::kNoStorage;
    }
    Node* made = graph.call(node->target(), std::move(args), std::move(kwargs), std::move(results),
                            std::move(writes));
    made->traits = node->traits;
    copy_origin(*call, *made);
    for (std::size_t i = 0; i < node->values().size(); ++i) {
      storages.emplace(node->values()[i].storage, made->values()[i].storage);
    }
    map[node.get()] = made;
    if (!ir::is_view(*made)) launches.push_back(made);
  }
  if (!call->is_list()) {
    graph.replace_all_uses(call, map.at(leaves.front()));
  } else {
    for (Node* user : std::vector<Node*>(call->users())) {
      if (!user->is_call("operator.getitem")) continue;
      const auto i = static_cast<std::size_t>(user->args()[1].as<std::int64_t>());
      graph.replace_all_uses(user, map.at(leaves.at(i)));
      graph.erase(user);
    }
  }
  graph.erase(call);
  return launches;
}

}  // namespace monograph::passes
