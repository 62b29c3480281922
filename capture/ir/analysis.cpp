#include "capture/ir/analysis.h"

#include <monograph/error.h>

#include <algorithm>
#include <utility>

namespace monograph::ir {
namespace {

bool allocates_undefined(const std::string& target) {
  // The trait says so too when a tracer set it; graphs written by hand often leave it out.
  return target.starts_with("aten.empty") || target.starts_with("aten.new_empty");
}

template <class Fn>
void for_each_used_node(const Node& node, Fn&& fn) {
  for (const Arg& a : node.args()) for_each_node(a, fn);
  for (const auto& [key, a] : node.kwargs()) for_each_node(a, fn);
  for (Node* w : node.writes()) fn(w);
}

}  // namespace

bool is_dense(const TensorType& type) noexcept {
  if (!type.defined() || type.offset != 0) return false;
  if (type.numel() == 0) return true;
  std::vector<std::pair<std::int64_t, std::int64_t>> dims;  // stride, size
  for (std::size_t i = 0; i < type.sizes.size(); ++i) {
    if (type.sizes[i] != 1) dims.emplace_back(type.strides[i], type.sizes[i]);
  }
  std::sort(dims.begin(), dims.end());
  std::int64_t step = 1;
  for (const auto& [stride, size] : dims) {
    if (stride != step) return false;
    step *= size;
  }
  return true;
}

bool owns_storage(const Graph& graph, const Node& node) {
  if (!node.has_tensor() || !node.type().defined() || node.storage() == kNoStorage) return false;
  const Storage& storage = graph.storage(node.storage());
  return storage.kind == StorageKind::kIntermediate && is_dense(node.type()) &&
         node.type().nbytes() == storage.nbytes;
}

std::vector<Node*> output_leaves(const Graph& graph) {
  std::vector<Node*> leaves;
  if (const Node* output = graph.output_node()) {
    for (const Arg& a : output->args()) {
      for_each_node(a, [&leaves](Node* n) { leaves.push_back(n); });
    }
  }
  return leaves;
}

bool is_repeatable(const Node& node) {
  if (node.traits.random || node.traits.nondeterministic) return false;
  if (node.kind() != NodeKind::kCallFunction) return true;
  if (allocates_undefined(node.target())) return false;
  if (!node.target().starts_with("fusion.")) return true;
  const Graph* body = node.graph().subgraph(std::string_view(node.target()).substr(7));
  if (body == nullptr) return false;
  return std::all_of(body->nodes().begin(), body->nodes().end(),
                     [](const auto& inner) { return is_repeatable(*inner); });
}

StorageIndex::StorageIndex(const Graph& graph) : storages_(graph.storages().size()) {
  std::int32_t position = 0;
  for (const auto& node : graph.nodes()) {
    add(*node, position);
    note_uses(*node, position);
    ++position;
  }
  for (const Node* leaf : output_leaves(graph)) {
    for (const Value& v : leaf->values()) {
      if (v.storage != kNoStorage) facts(v.storage).reaches_output = true;
    }
  }
}

void StorageIndex::note_uses(const Node& node, std::int32_t position) {
  for_each_used_node(node, [this, position](const Node* used) {
    facts(*used).last_use = position;
    for (const Value& v : used->values()) {
      if (v.storage != kNoStorage) facts(v.storage).last_use = position;
    }
  });
  for (const Node* target : node.writes()) {
    for (const Value& v : target->values()) {
      if (v.storage == kNoStorage) continue;
      auto& writes = facts(v.storage).writes;
      if (writes.empty() || writes.back() != position) writes.push_back(position);
    }
  }
}

StorageIndex::NodeFacts& StorageIndex::facts(const Node& node) {
  return const_cast<NodeFacts&>(std::as_const(*this).facts(node));
}

const StorageIndex::NodeFacts& StorageIndex::facts(const Node& node) const {
  const auto id = static_cast<std::size_t>(node.id());
  if (id >= nodes_.size() || nodes_[id].node == nullptr) {
    throw Error(Code::kInternal, "the storage index doesn't know this node", node.name());
  }
  return nodes_[id];
}

StorageIndex::StorageFacts& StorageIndex::facts(StorageId id) {
  const auto at = static_cast<std::size_t>(id);
  if (at >= storages_.size()) storages_.resize(at + 1);
  return storages_[at];
}

const StorageIndex::StorageFacts& StorageIndex::facts(StorageId id) const {
  static const StorageFacts nothing;
  const auto at = static_cast<std::size_t>(id);
  return at < storages_.size() ? storages_[at] : nothing;
}

std::int32_t StorageIndex::position(const Node& node) const {
  return facts(node).position;
}
std::int32_t StorageIndex::last_use(const Node& node) const {
  return facts(node).last_use;
}
std::int32_t StorageIndex::last_use(StorageId id) const {
  return facts(id).last_use;
}
bool StorageIndex::written(StorageId id) const {
  return !facts(id).writes.empty();
}

bool StorageIndex::written_between(StorageId id, std::int32_t after, std::int32_t upto) const {
  const auto& writes = facts(id).writes;
  const auto first = std::upper_bound(writes.begin(), writes.end(), after);
  return first != writes.end() && *first <= upto;
}

bool StorageIndex::reaches_output(StorageId id) const {
  return facts(id).reaches_output;
}

std::vector<Node*> StorageIndex::values(StorageId id) const {
  std::vector<Node*> nodes;
  for (const std::int32_t node_id : facts(id).values) {
    Node* node = nodes_[static_cast<std::size_t>(node_id)].node;
    if (node != nullptr) nodes.push_back(node);
  }
  return nodes;
}

void StorageIndex::add(Node& node, std::int32_t position, std::int32_t last_use) {
  const auto id = static_cast<std::size_t>(node.id());
  if (id >= nodes_.size()) nodes_.resize(id + 1);
  nodes_[id] = {&node, position, last_use};
  for (const Value& v : node.values()) {
    if (v.storage == kNoStorage) continue;
    auto& values = facts(v.storage).values;
    if (values.empty() || values.back() != node.id()) values.push_back(node.id());
  }
}

void StorageIndex::move(const Node& node, std::int32_t position) {
  facts(node).position = position;
}

void StorageIndex::forget(const Node& node) {
  facts(node).node = nullptr;
}

void StorageIndex::rehome(Graph& graph, StorageId from, StorageId to) {
  if (from == to) return;
  for (Node* node : values(from)) {
    Results results{node->values(), node->is_list()};
    for (Value& v : results.values) {
      if (v.storage == from) v.storage = to;
    }
    graph.set_values(node, std::move(results));
  }
  (void)facts(to);
  StorageFacts moved = std::move(facts(from));
  facts(from) = {};
  StorageFacts& target = facts(to);
  target.values.insert(target.values.end(), moved.values.begin(), moved.values.end());
  if (!moved.writes.empty()) {
    const auto middle =
        target.writes.insert(target.writes.end(), moved.writes.begin(), moved.writes.end());
    std::inplace_merge(target.writes.begin(), middle, target.writes.end());
  }
  target.last_use = std::max(target.last_use, moved.last_use);
  target.reaches_output = target.reaches_output || moved.reaches_output;
}

}  // namespace monograph::ir
