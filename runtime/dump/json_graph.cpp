// Nodes and fusions of dump.json.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "capture/ir/cost.h"
#include "capture/ir/text.h"
#include "runtime/dump/json_parts.h"

namespace monograph::dump {
namespace {

std::string type_text(const ir::Node& node) {
  if (!node.is_list()) return node.has_tensor() ? ir::text(node.type()) : std::string();
  std::string s = "(";
  for (std::size_t i = 0; i < node.values().size(); ++i) {
    if (i > 0) s += ", ";
    s += ir::text(node.values()[i].type);
  }
  return s + ")";
}

std::int64_t result_bytes(const ir::Node& node) {
  std::int64_t bytes = 0;
  for (const ir::Value& v : node.values()) bytes += v.type.nbytes();
  return bytes;
}

/// Lines of the graph's text by the node they define; the output's is "return".
std::map<std::string, std::int32_t, std::less<>> lines_by_node(
    const std::vector<std::int32_t>& lines, const LineTable& table) {
  std::map<std::string, std::int32_t, std::less<>> out;
  for (const std::int32_t id : lines) {
    std::string_view line = table.lines()[static_cast<std::size_t>(id)];
    if (line.starts_with("  subgraph")) break;  // names in there are others
    if (line.starts_with("  return")) out.emplace("return", id);
    if (!line.starts_with("  %")) continue;
    line.remove_prefix(3);
    out.emplace(line.substr(0, line.find_first_of(" :")), id);
  }
  return out;
}

void add_time(Json& out, const char* key, const std::map<std::string, double>& times,
              const std::string& node) {
  const auto found = times.find(node);
  if (found != times.end()) out[key] = found->second;
}

/// What a reader of the table wants to know of one node; what is usual is left out.
class NodeWriter {
 public:
  NodeWriter(const Snapshot& snapshot, const std::vector<std::int32_t>& lines,
             const LineTable& table)
      : snapshot_(snapshot),
        lines_(lines_by_node(lines, table)),
        kernels_(kernel_figures(snapshot)) {
    std::int32_t position = 0;
    for (const auto& node : snapshot.graph->nodes()) positions_.emplace(node.get(), position++);
    if (snapshot.lowered == nullptr) return;
    for (const lower::Launch& launch : snapshot.lowered->launches) {
      launches_.emplace(launch.node, launch.id);
    }
  }

  Json write(const ir::Node& node) const {
    Json out = {{"name", node.name()},
                {"kind", ir::node_kind_name(node.kind())},
                {"target", node.target()}};
    if (!node.values().empty()) out["type"] = type_text(node);
    add_storage(out, node);
    Json inputs = Json::array();
    for (const ir::Node* used : inputs_of(node)) inputs.push_back(positions_.at(used));
    if (!inputs.empty()) out["inputs"] = std::move(inputs);
    if (!node.module_path.empty()) out["module"] = node.module_path;
    if (!node.source.empty()) out["source"] = node.source;
    add_figures(out, node);
    const bool output = node.kind() == ir::NodeKind::kOutput;
    const auto line = lines_.find(output ? "return" : node.name());
    if (line != lines_.end()) out["line"] = line->second;
    return out;
  }

 private:
  void add_storage(Json& out, const ir::Node& node) const {
    if (node.values().empty()) return;
    out["bytes"] = result_bytes(node);
    if (!node.has_tensor() || node.storage() == ir::kNoStorage) return;
    out["storage"] = node.storage();
    const ir::Storage& storage = snapshot_.graph->storage(node.storage());
    if (storage.kind != ir::StorageKind::kIntermediate) {
      out["storage_kind"] = ir::storage_kind_name(storage.kind);
    }
    if (ir::is_view(node)) out["view"] = true;
    if (!node.writes().empty()) out["in_place"] = true;
  }

  void add_figures(Json& out, const ir::Node& node) const {
    const auto launch = launches_.find(&node);
    if (launch == launches_.end()) return;
    out["launch"] = launch->second;
    const ir::Cost cost = ir::cost_of(node);
    out["moved"] = cost.bytes;
    if (cost.flops > 0) out["flops"] = cost.flops;
    const auto kernel = kernels_.find(node.name());
    if (kernel != kernels_.end() && kernel->second.contains("predicted_us")) {
      out["predicted_us"] = kernel->second["predicted_us"];
    }
    add_time(out, "predicted_us", snapshot_.predicted_us, node.name());
    add_time(out, "measured_us", snapshot_.measured_us, node.name());
  }

  const Snapshot& snapshot_;
  std::map<std::string, std::int32_t, std::less<>> lines_;
  std::map<std::string, Json> kernels_;
  std::map<const ir::Node*, std::int32_t> positions_;   // looked up only
  std::map<const ir::Node*, plan::LaunchId> launches_;  // looked up only
};

}  // namespace

std::vector<const ir::Node*> inputs_of(const ir::Node& node) {
  std::vector<const ir::Node*> out;
  const auto add = [&out](const ir::Node* used) {
    if (std::ranges::find(out, used) == out.end()) out.push_back(used);
  };
  for (const ir::Arg& arg : node.args()) ir::for_each_node(arg, add);
  for (const auto& [key, arg] : node.kwargs()) ir::for_each_node(arg, add);
  return out;
}

Json nodes_json(const Snapshot& snapshot, const std::vector<std::int32_t>& lines,
                const LineTable& table) {
  const NodeWriter writer(snapshot, lines, table);
  Json out = Json::array();
  for (const auto& node : snapshot.graph->nodes()) out.push_back(writer.write(*node));
  return out;
}

Json fusions_json(const ir::Graph& graph) {
  std::map<std::string, Json> calls;
  for (const auto& node : graph.nodes()) {
    constexpr std::string_view kPrefix = "fusion.";
    if (node->target().starts_with(kPrefix)) {
      calls[node->target().substr(kPrefix.size())].push_back(node->name());
    }
  }
  Json out = Json::array();
  for (const auto& [name, body] : graph.subgraphs()) {
    Json targets = Json::array();
    for (const auto& node : body->nodes()) {
      if (node->kind() == ir::NodeKind::kCallFunction) targets.push_back(node->target());
    }
    const auto found = calls.find(name);
    out.push_back({{"name", name},
                   {"calls", found == calls.end() ? Json::array() : found->second},
                   {"operators", std::move(targets)},
                   {"text", ir::text(*body)}});
  }
  return out;
}

}  // namespace monograph::dump
