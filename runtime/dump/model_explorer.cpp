#include "runtime/dump/model_explorer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "capture/ir/cost.h"
#include "capture/ir/text.h"
#include "runtime/dump/json_parts.h"

namespace monograph::dump {
namespace {

constexpr std::string_view kFusionPrefix = "fusion.";

Json attribute(const std::string& key, const std::string& value) {
  return {{"key", key}, {"value", value}};
}

/// "encoder.layer.0" as "encoder/layer.0": a number belongs to the name before it.
std::string name_space(const std::string& module_path) {
  std::string out;
  for (std::size_t i = 0; i < module_path.size(); ++i) {
    const bool number = module_path[i] == '.' && i + 1 < module_path.size() &&
                        module_path[i + 1] >= '0' && module_path[i + 1] <= '9';
    out += module_path[i] == '.' && !number ? '/' : module_path[i];
  }
  return out;
}

void add_figures(Json& attrs, const ir::Node& node, const Snapshot& s) {
  const ir::Cost cost = ir::cost_of(node);
  if (cost.bytes > 0)
    attrs.push_back(
        attribute("bytes moved", std::to_string(static_cast<std::int64_t>(cost.bytes))));
  if (cost.flops > 0)
    attrs.push_back(attribute("FLOP", std::to_string(static_cast<std::int64_t>(cost.flops))));
  const auto measured = s.measured_us.find(node.name());
  if (measured != s.measured_us.end()) {
    attrs.push_back(attribute("measured us", std::to_string(measured->second)));
  }
}

Json attributes(const ir::Node& node, const Snapshot& s) {
  Json attrs = Json::array();
  for (std::size_t i = 0; i < node.args().size(); ++i) {
    attrs.push_back(attribute("arg " + std::to_string(i), ir::text(node.args()[i])));
  }
  for (const auto& [key, arg] : node.kwargs()) attrs.push_back(attribute(key, ir::text(arg)));
  if (!node.source.empty()) attrs.push_back(attribute("source", node.source));
  add_figures(attrs, node, s);
  return attrs;
}

Json outputs_metadata(const ir::Node& node) {
  Json out = Json::array();
  for (std::size_t i = 0; i < node.values().size(); ++i) {
    out.push_back({{"id", std::to_string(i)},
                   {"attrs", {attribute("tensor_shape", ir::text(node.values()[i].type))}}});
  }
  return out;
}

Json node_json(const ir::Node& node, const Snapshot& s) {
  const bool fusion = node.target().starts_with(kFusionPrefix);
  Json out = {{"id", node.name()},
              {"label", node.kind() == ir::NodeKind::kCallFunction
                            ? node.target()
                            : std::string(ir::node_kind_name(node.kind()))},
              {"namespace", name_space(node.module_path)},
              {"attrs", attributes(node, s)}};
  if (fusion) out["subgraphIds"] = {node.target().substr(kFusionPrefix.size())};
  Json edges = Json::array();
  std::size_t slot = 0;
  for (const ir::Node* used : inputs_of(node)) {
    const std::string id = std::to_string(slot++);
    if (used->kind() == ir::NodeKind::kGetAttr) continue;
    edges.push_back(
        {{"sourceNodeId", used->name()}, {"sourceNodeOutputId", "0"}, {"targetNodeInputId", id}});
  }
  out["incomingEdges"] = std::move(edges);
  out["outputsMetadata"] = outputs_metadata(node);
  return out;
}

Json graph_json(const std::string& id, const ir::Graph& graph, const Snapshot& s) {
  Json nodes = Json::array();
  for (const auto& node : graph.nodes()) {
    if (node->kind() != ir::NodeKind::kGetAttr) nodes.push_back(node_json(*node, s));
  }
  return {{"id", id}, {"nodes", std::move(nodes)}};
}

}  // namespace

std::string model_explorer_json(const Snapshot& snapshot) {
  Json graphs = Json::array();
  graphs.push_back(graph_json(snapshot.module, *snapshot.graph, snapshot));
  for (const auto& [name, body] : snapshot.graph->subgraphs()) {
    graphs.push_back(graph_json(name, *body, snapshot));
  }
  const Json out = {{"label", snapshot.module}, {"graphs", std::move(graphs)}};
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace monograph::dump
