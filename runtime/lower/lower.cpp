#include "runtime/lower/lower.h"

#include <monograph/error.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "capture/ir/analysis.h"

namespace monograph::lower {
namespace {

constexpr std::string_view kFusionPrefix = "fusion.";

[[noreturn]] void refuse(const std::string& message, const ir::Node& node) {
  throw Error(Code::kInvalidGraph, "lower: " + message, node.name());
}

std::size_t index(std::int32_t i) {
  return static_cast<std::size_t>(i);
}

/// Calls that only check something and say so by failing: what they check held while tracing, and
/// a replay on the same shapes has no use for them.
bool only_asserts(const ir::Node& node) {
  const std::string_view target = node.target();
  return target.starts_with("aten._assert_") || target.starts_with("aten.sym_constrain_range");
}

void sort_unique(std::vector<plan::BufferId>& ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

plan::BufferKind kind_of_weight(ir::StorageKind kind) {
  return kind == ir::StorageKind::kState ? plan::BufferKind::kState : plan::BufferKind::kWeight;
}

class Lowering {
 public:
  Lowering(const ir::Graph& graph, const Chooser& choose, const ir::Rates& rates)
      : graph_(graph), choose_(choose), rates_(rates) {
    result_.buffer_of.assign(graph.storages().size(), -1);
    names_.resize(graph.storages().size());
    output_slots_.assign(graph.storages().size(), -1);
  }

  Lowered run() {
    find_outputs();
    for (const auto& node : graph_.nodes()) {
      switch (node->kind()) {
        case ir::NodeKind::kPlaceholder:
          add_input(*node);
          break;
        case ir::NodeKind::kGetAttr:
          break;  // becomes a buffer when a launch reads it
        case ir::NodeKind::kCallFunction:
          if (!ir::is_view(*node)) add_launch(*node);
          break;
        case ir::NodeKind::kOutput:
          break;
      }
    }
    return std::move(result_);
  }

 private:
  void find_outputs() {
    std::map<ir::StorageId, const ir::Node*> owners;
    for (const ir::Node* leaf : ir::output_leaves(graph_)) {
      if (!ir::owns_storage(graph_, *leaf)) {
        refuse("output " + std::to_string(result_.outputs.size()) +
                   " isn't a tensor that fills a storage of its own made by a call",
               *leaf);
      }
      const auto [it, fresh] = owners.emplace(leaf->storage(), leaf);
      if (!fresh) {
        refuse("output " + std::to_string(result_.outputs.size()) + " shares its storage with %" +
                   it->second->name() + ", which is an output too",
               *leaf);
      }
      output_slots_[index(leaf->storage())] = static_cast<std::int32_t>(result_.outputs.size());
      result_.outputs.push_back(leaf);
    }
  }

  void add_input(const ir::Node& node) {
    if (!node.has_tensor() || node.storage() == ir::kNoStorage) {
      refuse("a placeholder must be a defined tensor", node);
    }
    if (result_.buffer_of[index(node.storage())] >= 0) {
      refuse("two placeholders share a storage", node);
    }
    const ir::Storage& storage = graph_.storage(node.storage());
    if (storage.kind != ir::StorageKind::kInput) {
      refuse("a placeholder's storage must be of kind input", node);
    }
    add_buffer(storage, plan::BufferKind::kInput, static_cast<std::int32_t>(result_.inputs.size()),
               storage.name.empty() ? node.name() : storage.name);
    result_.inputs.push_back(&node);
  }

  plan::BufferId add_buffer(const ir::Storage& storage, plan::BufferKind kind, std::int32_t slot,
                            std::string name) {
    const auto id = static_cast<plan::BufferId>(result_.problem.buffers.size());
    result_.problem.buffers.push_back({id, kind, storage.nbytes, slot, std::move(name)});
    result_.storage_of.push_back(storage.id);
    result_.buffer_of[index(storage.id)] = id;
    return id;
  }

  /// The buffer of a storage, made on first use.
  plan::BufferId buffer(ir::StorageId id, const ir::Node& user) {
    if (result_.buffer_of[index(id)] >= 0) return result_.buffer_of[index(id)];
    const ir::Storage& storage = graph_.storage(id);
    switch (storage.kind) {
      case ir::StorageKind::kInput:
        refuse("uses input '" + storage.name + "' before its placeholder", user);
      case ir::StorageKind::kParameter:
      case ir::StorageKind::kBuffer:
      case ir::StorageKind::kConstant:
      case ir::StorageKind::kState:
        return add_buffer(storage, kind_of_weight(storage.kind), -1, storage.name);
      case ir::StorageKind::kIntermediate:
        break;
    }
    const std::int32_t slot = output_slots_[index(id)];
    const auto kind = slot >= 0 ? plan::BufferKind::kOutput : plan::BufferKind::kIntermediate;
    return add_buffer(storage, kind, slot, names_[index(id)]);
  }

  /// Storages whose first definition is `node`. Remembers a name for each.
  std::vector<ir::StorageId> fresh_storages(const ir::Node& node) {
    std::vector<ir::StorageId> fresh;
    for (std::size_t i = 0; i < node.values().size(); ++i) {
      const ir::StorageId id = node.values()[i].storage;
      if (id == ir::kNoStorage || result_.buffer_of[index(id)] >= 0 || !names_[index(id)].empty()) {
        continue;
      }
      if (graph_.storage(id).kind != ir::StorageKind::kIntermediate) continue;
      names_[index(id)] = node.is_list() ? node.name() + "#" + std::to_string(i) : node.name();
      fresh.push_back(id);
    }
    return fresh;
  }

  std::vector<plan::BufferId> reads_of(const ir::Node& node) {
    std::vector<plan::BufferId> ids;
    const auto add = [&](const ir::Node* used) {
      for (const ir::Value& v : used->values()) {
        if (v.storage != ir::kNoStorage) ids.push_back(buffer(v.storage, node));
      }
    };
    for (const ir::Arg& a : node.args()) ir::for_each_node(a, add);
    for (const auto& [key, a] : node.kwargs()) ir::for_each_node(a, add);
    for (const ir::Node* target : node.writes()) add(target);
    sort_unique(ids);
    return ids;
  }

  void add_launch(const ir::Node& node) {
    plan::Launch launch;
    launch.name = node.name();
    launch.reads = reads_of(node);
    for (const ir::StorageId id : fresh_storages(node)) {
      launch.writes.push_back(buffer(id, node));
    }
    for (const ir::Node* target : node.writes()) {
      for (const ir::Value& v : target->values()) {
        if (v.storage != ir::kNoStorage) launch.writes.push_back(buffer(v.storage, node));
      }
    }
    sort_unique(launch.writes);
    if (launch.writes.empty()) {
      // An empty list of torch's own (unbind along a dimension of size 0) is nothing to compute,
      // either; an operator of somebody else's that returns nothing is there for its effect.
      const bool empty_list = node.is_list() && node.target().starts_with("aten.");
      if (node.values().empty() && (only_asserts(node) || empty_list)) return;
      refuse(node.target() + " neither makes a new tensor nor writes one", node);
    }
    Choice choice = choose(node);
    launch.id = static_cast<plan::LaunchId>(result_.problem.launches.size());
    launch.workspace_bytes = choice.workspace_bytes;
    result_.problem.launches.push_back(std::move(launch));
    const ir::Cost cost = ir::cost_of(node);
    const double us = ir::work_us(cost, rates_);
    result_.launches.push_back({static_cast<plan::LaunchId>(result_.launches.size()), choice.kind,
                                &node, std::move(choice.implementation), std::move(choice.reason),
                                cost, us});
    result_.cost += cost;
    result_.predicted_us += us + rates_.boundary_us;
  }

  Choice choose(const ir::Node& node) const {
    Choice choice = choose_ ? choose_(node) : Choice{};
    const bool fusion = node.target().starts_with(kFusionPrefix);
    if (fusion && choice.kind == LaunchKind::kAten) choice.kind = LaunchKind::kFusion;
    if (!fusion && choice.kind == LaunchKind::kFusion) {
      throw Error(Code::kInternal, node.target() + " was given to a fusion but is none",
                  node.name());
    }
    if (choice.workspace_bytes < 0) {
      throw Error(Code::kInternal, node.target() + " asks for a workspace of negative size",
                  node.name());
    }
    return choice;
  }

  const ir::Graph& graph_;
  const Chooser& choose_;
  const ir::Rates& rates_;
  Lowered result_;
  std::vector<std::string> names_;          ///< by storage; set once a launch defined it
  std::vector<std::int32_t> output_slots_;  ///< by storage; -1 for no output
};

}  // namespace

Lowered lower(const ir::Graph& graph, const Chooser& choose, const ir::Rates& rates) {
  return Lowering(graph, choose, rates).run();
}

}  // namespace monograph::lower
