// Removes what no output and no effect needs. Placeholders stay: they are the signature.
#include <fmt/format.h>

#include <set>
#include <vector>

#include "capture/passes/pass.h"
#include "capture/passes/rewrite.h"

namespace monograph::passes {
namespace {

using ir::Graph;
using ir::Node;
using ir::StorageId;

/// Walks backwards and keeps what is needed by what it has kept so far.
class Liveness {
 public:
  explicit Liveness(const Graph& graph)
      : graph_(graph), read_later_(graph.storages().size(), false) {}

  bool keep(const Node& node) {
    const bool live = wanted(node);
    if (live) mark(node);
    return live;
  }

 private:
  bool wanted(const Node& node) const {
    if (node.kind() == ir::NodeKind::kPlaceholder || node.kind() == ir::NodeKind::kOutput) {
      return true;
    }
    if (!node.users().empty()) return true;  // later nodes have been judged: these users stay
    if (node.kind() == ir::NodeKind::kGetAttr) return false;
    if (node.traits.random) return true;
    // A call that returns and writes nothing is there for an effect that we can't see.
    if (node.values().empty() && node.writes().empty()) return true;
    for (const Node* target : node.writes()) {
      for (const ir::Value& v : target->values()) {
        if (v.storage == ir::kNoStorage) continue;
        if (graph_.storage(v.storage).kind != ir::StorageKind::kIntermediate) return true;
        if (read_later_[static_cast<std::size_t>(v.storage)]) return true;
      }
    }
    return false;
  }

  void mark(const Node& node) {
    const auto use = [this](const Node* n) {
      for (const ir::Value& v : n->values()) {
        if (v.storage != ir::kNoStorage) read_later_[static_cast<std::size_t>(v.storage)] = true;
      }
    };
    for (const Node* n : inputs_of(node)) use(n);
    for (const Node* n : node.writes()) use(n);
  }

  const Graph& graph_;
  std::vector<bool> read_later_;
};

std::int64_t erase_unused_subgraphs(Graph& graph, PassReport& report) {
  std::set<std::string, std::less<>> called;
  for (const auto& node : graph.nodes()) {
    if (node->target().starts_with("fusion.")) called.insert(node->target().substr(7));
  }
  std::vector<std::string> unused;
  for (const auto& [name, body] : graph.subgraphs()) {
    if (!called.contains(name)) unused.push_back(name);
  }
  for (const std::string& name : unused) {
    graph.erase_subgraph(name);
    report.notes.push_back(fmt::format("subgraph {} removed", name));
  }
  return static_cast<std::int64_t>(unused.size());
}

PassReport dead_code(Graph& graph, PassContext&) {
  PassReport report;
  Liveness liveness(graph);
  std::vector<Node*> nodes = graph.node_vector();
  for (std::size_t i = nodes.size(); i-- > 0;) {
    Node* node = nodes[i];
    if (liveness.keep(*node)) continue;
    report.notes.push_back(fmt::format("%{} removed: {}", node->name(), node->target()));
    graph.erase(node);
    ++report.changes;
  }
  report.changes += erase_unused_subgraphs(graph, report);
  return report;
}

const Registration kRegistration{
    {"dead_code", "remove nodes that no output and no effect needs", dead_code}};

}  // namespace
}  // namespace monograph::passes
