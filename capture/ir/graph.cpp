#include "capture/ir/graph.h"

#include <monograph/error.h>

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <unordered_map>

namespace monograph::ir {
namespace {

[[noreturn]] void fail(const std::string& message, const std::string& node = {}) {
  throw Error(Code::kInternal, message, node);
}

/// "aten.add_.Tensor" -> "add_"; "encoder.layer.0" -> "encoder_layer_0".
std::string hint_from_target(NodeKind kind, const std::string& target) {
  if (kind != NodeKind::kCallFunction) return target;
  const std::size_t first = target.find('.');
  if (first == std::string::npos) return target;
  if (target.starts_with("fusion.")) return target.substr(first + 1);
  const std::size_t second = target.find('.', first + 1);
  return target.substr(first + 1, second == std::string::npos ? second : second - first - 1);
}

std::string sanitise(const std::string& hint) {
  std::string s;
  s.reserve(hint.size());
  for (const char c : hint) {
    const bool ok =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    s += ok ? c : '_';
  }
  if (s.empty()) s = "node";
  if (s[0] >= '0' && s[0] <= '9') s.insert(s.begin(), '_');
  return s;
}

bool same_double(double a, double b) noexcept {
  return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

void insert_by_id(std::vector<Node*>& users, Node* user) {
  const auto at = std::lower_bound(users.begin(), users.end(), user,
                                   [](const Node* a, const Node* b) { return a->id() < b->id(); });
  if (at == users.end() || *at != user) users.insert(at, user);
}

void erase_by_id(std::vector<Node*>& users, const Node* user) {
  const auto at = std::lower_bound(users.begin(), users.end(), user,
                                   [](const Node* a, const Node* b) { return a->id() < b->id(); });
  if (at != users.end() && *at == user) users.erase(at);
}

Arg replaced(const Arg& arg, Node* from, Node* to) {
  if (const auto* n = arg.get_if<Node*>()) return *n == from ? Arg(to) : arg;
  if (const auto* list = arg.get_if<Arg::List>()) {
    Arg::List out;
    out.reserve(list->size());
    for (const Arg& a : *list) out.push_back(replaced(a, from, to));
    return out;
  }
  return arg;
}

using NodeMap = std::unordered_map<const Node*, Node*>;  // looked up only, never iterated

Arg mapped(const Arg& arg, const NodeMap& map) {
  if (const auto* n = arg.get_if<Node*>()) return Arg(map.at(*n));
  if (const auto* list = arg.get_if<Arg::List>()) {
    Arg::List out;
    out.reserve(list->size());
    for (const Arg& a : *list) out.push_back(mapped(a, map));
    return out;
  }
  return arg;
}

}  // namespace

bool operator==(const Arg& a, const Arg& b) noexcept {
  if (a.v_.index() != b.v_.index()) return false;
  if (const auto* d = std::get_if<double>(&a.v_)) return same_double(*d, std::get<double>(b.v_));
  if (const auto* c = std::get_if<std::complex<double>>(&a.v_)) {
    const auto& e = std::get<std::complex<double>>(b.v_);
    return same_double(c->real(), e.real()) && same_double(c->imag(), e.imag());
  }
  return a.v_ == b.v_;
}

Arg Arg::ints(std::span<const std::int64_t> values) {
  List list;
  list.reserve(values.size());
  for (const std::int64_t v : values) list.emplace_back(v);
  return list;
}

std::string_view storage_kind_name(StorageKind kind) noexcept {
  constexpr std::array<std::string_view, 6> kNames{"input",    "parameter", "buffer",
                                                   "constant", "state",     "intermediate"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::optional<StorageKind> storage_kind_from_name(std::string_view name) noexcept {
  for (int i = 0; i <= static_cast<int>(StorageKind::kIntermediate); ++i) {
    if (storage_kind_name(static_cast<StorageKind>(i)) == name) return static_cast<StorageKind>(i);
  }
  return std::nullopt;
}

std::string_view node_kind_name(NodeKind kind) noexcept {
  constexpr std::array<std::string_view, 4> kNames{"placeholder", "get_attr", "call_function",
                                                   "output"};
  return kNames[static_cast<std::size_t>(kind)];
}

const Arg* Node::kwarg(std::string_view name) const noexcept {
  for (const auto& [key, value] : kwargs_) {
    if (key == name) return &value;
  }
  return nullptr;
}

const Value& Node::value() const {
  if (!has_tensor()) fail("node has no single tensor result", name_);
  return values_.front();
}

Graph::Graph(std::string name) : name_(std::move(name)) {}
Graph::~Graph() = default;

Graph::Graph(Graph&& other) noexcept {
  *this = std::move(other);
}

Graph& Graph::operator=(Graph&& other) noexcept {
  if (this == &other) return *this;
  name_ = std::move(other.name_);
  nodes_ = std::move(other.nodes_);
  storages_ = std::move(other.storages_);
  by_name_ = std::move(other.by_name_);
  name_counts_ = std::move(other.name_counts_);
  subgraphs_ = std::move(other.subgraphs_);
  insert_before_ = std::exchange(other.insert_before_, nullptr);
  output_ = std::exchange(other.output_, nullptr);
  next_id_ = std::exchange(other.next_id_, 0);
  other.nodes_.clear();
  other.by_name_.clear();
  for (const auto& n : nodes_) n->graph_ = this;
  return *this;
}

Graph Graph::clone() const {
  Graph copy(name_);
  copy.storages_ = storages_;
  copy.name_counts_ = name_counts_;
  NodeMap map;
  map.reserve(nodes_.size());
  for (const auto& n : nodes_) {
    std::unique_ptr<Node> m(new Node());
    m->graph_ = &copy;
    m->id_ = n->id_;
    m->kind_ = n->kind_;
    m->is_list_ = n->is_list_;
    m->name_ = n->name_;
    m->target_ = n->target_;
    m->values_ = n->values_;
    m->traits = n->traits;
    m->module_path = n->module_path;
    m->source = n->source;
    for (const Arg& a : n->args_) m->args_.push_back(mapped(a, map));
    for (const auto& [key, a] : n->kwargs_) m->kwargs_.emplace_back(key, mapped(a, map));
    for (const Node* w : n->writes_) m->writes_.push_back(map.at(w));
    map[n.get()] = m.get();
    copy.nodes_.push_back(std::move(m));
    Node* added = copy.nodes_.back().get();
    added->self_ = std::prev(copy.nodes_.end());
    copy.by_name_[added->name_] = added;
    copy.add_uses(added);
  }
  copy.next_id_ = next_id_;
  if (output_ != nullptr) copy.output_ = map.at(output_);
  for (const auto& [name, sub] : subgraphs_) {
    copy.subgraphs_[name] = std::make_unique<Graph>(sub->clone());
  }
  return copy;
}

StorageId Graph::add_storage(StorageKind kind, std::string name, std::int64_t nbytes,
                             Device device) {
  const auto id = static_cast<StorageId>(storages_.size());
  storages_.push_back({id, kind, std::move(name), nbytes, device});
  return id;
}

const Storage& Graph::storage(StorageId id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= storages_.size()) {
    fail("storage id " + std::to_string(id) + " out of range");
  }
  return storages_[static_cast<std::size_t>(id)];
}

void Graph::set_storage_kind(StorageId id, StorageKind kind) {
  (void)storage(id);
  storages_[static_cast<std::size_t>(id)].kind = kind;
}

void Graph::grow_storage(StorageId id, std::int64_t nbytes) {
  (void)storage(id);
  auto& s = storages_[static_cast<std::size_t>(id)];
  s.nbytes = std::max(s.nbytes, nbytes);
}

std::string Graph::unique_name(const std::string& hint) {
  const std::string base = sanitise(hint);
  if (!by_name_.contains(base)) return base;
  std::int32_t& count = name_counts_[base];
  std::string name;
  do {
    name = base + "_" + std::to_string(++count);
  } while (by_name_.contains(name));
  return name;
}

Node* Graph::insert(NodeKind kind, const std::string& name_hint, std::string target) {
  std::unique_ptr<Node> node(new Node());
  node->graph_ = this;
  node->id_ = next_id_++;
  node->kind_ = kind;
  node->name_ = unique_name(name_hint.empty() ? hint_from_target(kind, target) : name_hint);
  node->target_ = std::move(target);
  const auto at = insert_before_ != nullptr ? insert_before_->self_ : nodes_.end();
  const auto it = nodes_.insert(at, std::move(node));
  (*it)->self_ = it;
  by_name_[(*it)->name_] = it->get();
  return it->get();
}

void Graph::bind_results(Node* node, Results results) {
  for (Value& v : results.values) {
    if (!v.type.defined()) {
      v.storage = kNoStorage;
    } else if (v.storage == kNoStorage) {
      v.storage =
          add_storage(StorageKind::kIntermediate, {}, v.type.storage_extent(), v.type.device);
    } else {
      (void)storage(v.storage);
    }
  }
  node->values_ = std::move(results.values);
  node->is_list_ = results.is_list;
}

Node* Graph::placeholder(const std::string& name, TensorType type, std::int64_t nbytes) {
  Node* node = insert(NodeKind::kPlaceholder, name, name);
  const std::int64_t bytes = nbytes < 0 ? type.storage_extent() : nbytes;
  const StorageId id = add_storage(StorageKind::kInput, name, bytes, type.device);
  bind_results(node, Results::tensor(std::move(type), id));
  return node;
}

Node* Graph::get_attr(const std::string& fqn, TensorType type, StorageKind kind,
                      std::int64_t nbytes, StorageId alias) {
  Node* node = insert(NodeKind::kGetAttr, {}, fqn);
  StorageId id = alias;
  if (id == kNoStorage) {
    const std::int64_t bytes = nbytes < 0 ? type.storage_extent() : nbytes;
    id = add_storage(kind, fqn, bytes, type.device);
  }
  bind_results(node, Results::tensor(std::move(type), id));
  return node;
}

Node* Graph::call(const std::string& target, std::vector<Arg> args, Kwargs kwargs, Results results,
                  std::vector<Node*> writes, const std::string& name_hint) {
  Node* node = insert(NodeKind::kCallFunction, name_hint, target);
  node->args_ = std::move(args);
  node->kwargs_ = std::move(kwargs);
  node->writes_ = std::move(writes);
  bind_results(node, std::move(results));
  add_uses(node);
  return node;
}

Node* Graph::getitem(Node* list, std::int64_t index) {
  if (!list->is_list() || index < 0 || static_cast<std::size_t>(index) >= list->values().size()) {
    fail("getitem index " + std::to_string(index) + " out of range", list->name());
  }
  const Value& v = list->values()[static_cast<std::size_t>(index)];
  return call("operator.getitem", {Arg(list), Arg(index)}, {}, Results{{v}, false});
}

Node* Graph::output(std::vector<Arg> args) {
  if (output_ != nullptr) fail("graph already has an output node", output_->name());
  InsertionGuard guard(*this, nullptr);
  Node* node = insert(NodeKind::kOutput, "output", "output");
  node->args_ = std::move(args);
  add_uses(node);
  output_ = node;
  return node;
}

std::vector<Node*> Graph::node_vector() const {
  std::vector<Node*> all;
  all.reserve(nodes_.size());
  for (const auto& n : nodes_) all.push_back(n.get());
  return all;
}

std::vector<Node*> Graph::placeholders() const {
  std::vector<Node*> all;
  for (const auto& n : nodes_) {
    if (n->kind() == NodeKind::kPlaceholder) all.push_back(n.get());
  }
  return all;
}

Node* Graph::find(std::string_view name) const noexcept {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : it->second;
}

Node* Graph::next(const Node* node) const {
  const auto it = std::next(node->self_);
  return it == nodes_.end() ? nullptr : it->get();
}

Node* Graph::prev(const Node* node) const {
  return node->self_ == nodes_.begin() ? nullptr : std::prev(node->self_)->get();
}

void Graph::add_uses(Node* node) {
  auto use = [node](Node* n) { insert_by_id(n->users_, node); };
  for (const Arg& a : node->args_) for_each_node(a, use);
  for (const auto& [key, a] : node->kwargs_) for_each_node(a, use);
  for (Node* w : node->writes_) use(w);
}

void Graph::drop_uses(Node* node) {
  auto drop = [node](Node* n) { erase_by_id(n->users_, node); };
  for (const Arg& a : node->args_) for_each_node(a, drop);
  for (const auto& [key, a] : node->kwargs_) for_each_node(a, drop);
  for (Node* w : node->writes_) drop(w);
}

void Graph::set_args(Node* node, std::vector<Arg> args, Kwargs kwargs) {
  drop_uses(node);
  node->args_ = std::move(args);
  node->kwargs_ = std::move(kwargs);
  add_uses(node);
}

void Graph::set_target(Node* node, std::string target) {
  node->target_ = std::move(target);
}

void Graph::set_writes(Node* node, std::vector<Node*> writes) {
  drop_uses(node);
  node->writes_ = std::move(writes);
  add_uses(node);
}

void Graph::set_values(Node* node, Results results) {
  bind_results(node, std::move(results));
}

void Graph::rename(Node* node, const std::string& name_hint) {
  by_name_.erase(node->name_);
  node->name_ = unique_name(name_hint);
  by_name_[node->name_] = node;
}

void Graph::replace_all_uses(Node* from, Node* to) {
  if (from == to) return;
  // Other operands of the users stay as they are, so only the two user lists change; users come in
  // ascending order, which keeps the insertions at the end.
  std::vector<Node*> users;
  users.swap(from->users_);
  for (Node* user : users) {
    if (user == to) {
      from->users_.push_back(user);
      continue;
    }
    for (Arg& a : user->args_) a = replaced(a, from, to);
    for (auto& [key, a] : user->kwargs_) a = replaced(a, from, to);
    std::replace(user->writes_.begin(), user->writes_.end(), from, to);
    insert_by_id(to->users_, user);
  }
}

void Graph::move_before(Node* node, Node* before) {
  nodes_.splice(before != nullptr ? before->self_ : nodes_.end(), nodes_, node->self_);
}

void Graph::erase(Node* node) {
  if (!node->users_.empty()) {
    fail("can't erase a node that %" + node->users_.front()->name() + " still uses", node->name());
  }
  drop_uses(node);
  if (output_ == node) output_ = nullptr;
  if (insert_before_ == node) insert_before_ = next(node);
  by_name_.erase(node->name_);
  nodes_.erase(node->self_);
}

Graph& Graph::add_subgraph(const std::string& name, Graph graph) {
  const auto [it, inserted] = subgraphs_.emplace(name, std::make_unique<Graph>(std::move(graph)));
  if (!inserted) fail("subgraph '" + name + "' exists already");
  it->second->set_name(name);
  return *it->second;
}

const Graph* Graph::subgraph(std::string_view name) const noexcept {
  const auto it = subgraphs_.find(std::string(name));
  return it == subgraphs_.end() ? nullptr : it->second.get();
}

void Graph::erase_subgraph(const std::string& name) {
  subgraphs_.erase(name);
}

bool is_view(const Node& node) noexcept {
  if (node.kind() != NodeKind::kCallFunction || !node.writes().empty() || node.values().empty()) {
    return false;
  }
  // A result is a view iff its storage is that of some argument: fresh storages have none.
  std::vector<StorageId> from;
  auto collect = [&from](const Node* n) {
    for (const Value& v : n->values()) from.push_back(v.storage);
  };
  for (const Arg& a : node.args()) for_each_node(a, collect);
  for (const auto& [key, a] : node.kwargs()) for_each_node(a, collect);
  return std::all_of(node.values().begin(), node.values().end(), [&from](const Value& v) {
    return v.storage == kNoStorage || std::find(from.begin(), from.end(), v.storage) != from.end();
  });
}

Node* storage_root(const Graph& graph, StorageId id) {
  for (const auto& n : graph.nodes()) {
    for (const Value& v : n->values()) {
      if (v.storage == id) return n.get();
    }
  }
  return nullptr;
}

}  // namespace monograph::ir
