#include "capture/passes/fusion/groups.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "capture/passes/rewrite.h"

namespace monograph::passes {
namespace {

using ir::Node;
using ir::StorageId;

bool is_launch(const Node& node) {
  return node.kind() == ir::NodeKind::kCallFunction && !ir::is_view(node);
}

void add_sorted(std::vector<Groups::Id>& ids, Groups::Id id) {
  const auto at = std::lower_bound(ids.begin(), ids.end(), id);
  if (at == ids.end() || *at != id) ids.insert(at, id);
}

std::vector<StorageId> storages_of(const std::vector<Node*>& nodes) {
  std::vector<StorageId> ids;
  for (const Node* n : nodes) {
    for (const ir::Value& v : n->values()) {
      if (v.storage != ir::kNoStorage) ids.push_back(v.storage);
    }
  }
  return ids;
}

}  // namespace

Groups::Groups(const ir::Graph& graph) : producer_(graph.storages().size(), kNone) {
  for (const auto& node : graph.nodes()) {
    if (is_launch(*node)) launches_.push_back({node.get(), {}, {}, false, false});
  }
  note_effects(graph);
  for (Node* leaf : ir::output_leaves(graph)) {
    for (const StorageId id : storages_of({leaf})) {
      const Id made = producer_[index(id)];
      if (made != kNone) launches_[index(made)].is_output = true;
    }
  }
  for (Id i = 0; i < size(); ++i) {
    group_.push_back(i);
    members_.push_back({i});
  }
}

void Groups::note_effects(const ir::Graph& graph) {
  struct State {
    Id writer = kNone;
    std::vector<Id> readers;  // since the writer
  };
  std::vector<State> states(graph.storages().size());
  for (Id i = 0; i < size(); ++i) {
    const Node& node = *launches_[index(i)].node;
    for (const StorageId id : storages_of(inputs_of(node))) {
      State& state = states[index(id)];
      if (state.writer != kNone) add_edge(state.writer, i);
      if (state.readers.empty() || state.readers.back() != i) state.readers.push_back(i);
      if (producer_[index(id)] != kNone)
        add_sorted(launches_[index(producer_[index(id)])].readers, i);
    }
    const auto write = [&](StorageId id) {
      State& state = states[index(id)];
      for (const Id reader : state.readers) add_edge(reader, i);
      if (state.writer != kNone) add_edge(state.writer, i);
      state = {i, {}};
    };
    for (const StorageId id : storages_of(node.writes())) {
      if (producer_[index(id)] != kNone) launches_[index(producer_[index(id)])].overwritten = true;
      write(id);
    }
    for (const ir::Value& v : node.values()) {
      if (v.storage == ir::kNoStorage || states[index(v.storage)].writer != kNone) continue;
      if (graph.storage(v.storage).kind != ir::StorageKind::kIntermediate) continue;
      producer_[index(v.storage)] = i;
      write(v.storage);
    }
  }
}

void Groups::add_edge(Id from, Id to) {
  if (from != to) add_sorted(launches_[index(from)].after, to);
}

Groups::Id Groups::producer(const Node& value) const {
  if (!value.has_tensor() || value.storage() == ir::kNoStorage) return kNone;
  return producer_[index(value.storage())];
}

Groups::Id Groups::group(Id launch) const {
  return group_[index(launch)];
}

std::vector<Groups::Id> Groups::results(Id g) const {
  std::vector<Id> out;
  for (const Id m : members(g)) {
    const auto& readers = launches_[index(m)].readers;
    const bool outside =
        std::any_of(readers.begin(), readers.end(), [&](Id r) { return group(r) != group(g); });
    if (outside || is_output(m)) out.push_back(m);
  }
  return out;
}

/// Whether a path of groups leads from group `from` to group `to`; `skip_direct`: by way of a
/// third.
bool Groups::reaches(Id from, Id to, bool skip_direct) const {
  constexpr std::size_t kMost = 4096;
  const Id last = members(to).back();
  std::vector<bool> seen(launches_.size(), false);
  std::vector<Id> stack;
  std::size_t looked = 0;
  const auto push = [&](Id g, bool direct) {
    for (const Id m : members(g)) {
      for (const Id next : launches_[index(m)].after) {
        const Id h = group(next);
        if (h == from || seen[index(h)] || (direct && h == to)) continue;
        if (members(h).front() > last) continue;  // every way on leads further down
        seen[index(h)] = true;
        stack.push_back(h);
      }
    }
  };
  push(from, skip_direct);
  while (!stack.empty()) {
    const Id g = stack.back();
    stack.pop_back();
    if (g == to || ++looked > kMost) return true;
    push(g, false);
  }
  return false;
}

bool Groups::can_join(Id a, Id b) const {
  a = group(a);
  b = group(b);
  return a != b && !reaches(a, b, true) && !reaches(b, a, true);
}

void Groups::join(Id a, Id b) {
  a = group(a);
  b = group(b);
  std::vector<Id> merged;
  std::merge(members_[index(a)].begin(), members_[index(a)].end(), members_[index(b)].begin(),
             members_[index(b)].end(), std::back_inserter(merged));
  for (const Id m : members_[index(b)]) group_[index(m)] = a;
  members_[index(b)].clear();
  members_[index(a)] = std::move(merged);
}

void Groups::dissolve(Id g) {
  const std::vector<Id> all = std::move(members_[index(group(g))]);
  members_[index(group(g))].clear();
  for (const Id m : all) {
    group_[index(m)] = m;
    members_[index(m)] = {m};
  }
}

std::vector<std::vector<Node*>> Groups::found() const {
  std::map<Id, std::vector<Node*>> by_last;
  for (const std::vector<Id>& group : members_) {
    if (group.size() < 2) continue;
    std::vector<Node*>& nodes = by_last[group.back()];
    for (const Id m : group) nodes.push_back(launches_[index(m)].node);
  }
  std::vector<std::vector<Node*>> out;
  out.reserve(by_last.size());
  for (auto& [last, nodes] : by_last) out.push_back(std::move(nodes));
  return out;
}

}  // namespace monograph::passes
