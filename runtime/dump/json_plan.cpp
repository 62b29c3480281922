// Launches and plan of dump.json.
#include <charconv>
#include <nlohmann/json.hpp>
#include <string_view>

#include "runtime/dump/json_parts.h"

namespace monograph::dump {
namespace {

std::string_view take_word(std::string_view& text) {
  const std::size_t begin = std::min(text.find_first_not_of(' '), text.size());
  const std::size_t end = std::min(text.find(' ', begin), text.size());
  const std::string_view word = text.substr(begin, end - begin);
  text.remove_prefix(end);
  return word;
}

/// "2.50us" as {"predicted_us": 2.5}, "registers=32" as a number, anything else as text.
void add_figure(Json& out, std::string_view key, std::string_view value) {
  double number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  const std::string_view unit = value.substr(static_cast<std::size_t>(end - value.data()));
  if (error != std::errc()) {
    out[std::string(key)] = std::string(value);
  } else {
    out[std::string(key) + (unit.empty() ? "" : "_") + std::string(unit)] = number;
  }
}

Json figures(std::string_view text) {
  Json out;
  while (!text.empty()) {
    const std::string_view word = take_word(text);
    const std::size_t equals = word.find('=');
    if (equals != std::string_view::npos) {
      add_figure(out, word.substr(0, equals), word.substr(equals + 1));
    }
  }
  return out;
}

}  // namespace

std::map<std::string, Json> kernel_figures(const Snapshot& snapshot) {
  std::map<std::string, Json> out;
  for (const Text& stage : snapshot.backend_texts) {
    if (stage.name != "kernels") continue;
    std::string_view text = stage.text;
    while (!text.empty()) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      const std::string_view line = text.substr(0, end);
      const std::size_t colon = line.find(": ");
      if (line.starts_with('%') && colon != std::string_view::npos) {
        out.emplace(line.substr(1, colon - 1), figures(line.substr(colon + 2)));
      }
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  }
  return out;
}

Json launches_json(const Snapshot& snapshot) {
  const auto kernels = kernel_figures(snapshot);
  Json out = Json::array();
  for (const lower::Launch& launch : snapshot.lowered->launches) {
    const plan::Launch& planned =
        snapshot.lowered->problem.launches.at(static_cast<std::size_t>(launch.id));
    Json row = {{"node", launch.node->name()}, {"kind", lower::launch_kind_name(launch.kind)}};
    if (!launch.implementation.empty()) row["implementation"] = launch.implementation;
    if (!launch.reason.empty()) row["reason"] = launch.reason;
    row["reads"] = planned.reads;
    row["writes"] = planned.writes;
    if (planned.workspace_bytes != 0) row["workspace"] = planned.workspace_bytes;
    const auto figures = kernels.find(launch.node->name());
    if (figures != kernels.end()) row["kernel"] = figures->second;
    out.push_back(std::move(row));
  }
  return out;
}

Json plan_json(const plan::Plan& plan) {
  Json out;
  out["concurrency"] = plan.concurrency == plan::Concurrency::kSequential ? "sequential" : "graph";
  out["arena_bytes"] = plan.arena_bytes;
  out["lower_bound_bytes"] = plan.lower_bound_bytes;
  Json buffers = Json::array();
  for (const plan::Buffer& b : plan.problem.buffers) {
    Json row = {{"kind", plan::buffer_kind_name(b.kind)}, {"bytes", b.bytes}, {"name", b.name}};
    if (b.slot >= 0) row["slot"] = b.slot;
    buffers.push_back(std::move(row));
  }
  out["buffers"] = std::move(buffers);
  Json edges = Json::array();
  for (const plan::Edge& e : plan.edges) edges.push_back({e.from, e.to});
  out["edges"] = std::move(edges);
  Json placements = Json::array();
  for (const plan::Placement& p : plan.placements) {
    placements.push_back(
        {{p.buffer >= 0 ? "buffer" : "workspace_of", p.buffer >= 0 ? p.buffer : p.launch},
         {"offset", p.offset},
         {"bytes", p.bytes},
         {"first", p.first},
         {"last", p.last}});
  }
  out["placements"] = std::move(placements);
  return out;
}

}  // namespace monograph::dump
