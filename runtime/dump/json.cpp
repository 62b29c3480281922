#include "runtime/dump/json.h"

#include <fmt/format.h>
#include <monograph/version.h>

#include <nlohmann/json.hpp>

#include "capture/ir/text.h"
#include "runtime/dump/diff.h"
#include "runtime/dump/json_parts.h"

namespace monograph::dump {
namespace {

Json summary(const Snapshot& s) {
  Json out;
  out["nodes_traced"] = s.nodes_traced;
  if (s.graph != nullptr) out["nodes_final"] = s.graph->size();
  if (s.lowered != nullptr) out["launches"] = s.lowered->launches.size();
  if (s.plan != nullptr) {
    out["edges"] = s.plan->edges.size();
    out["arena_bytes"] = s.plan->arena_bytes;
    out["arena_lower_bound"] = s.plan->lower_bound_bytes;
  }
  out["weight_bytes"] = s.weight_bytes;
  out["trace_ms"] = s.trace_ms;
  out["passes_ms"] = s.passes_ms;
  out["build_ms"] = s.build_ms;
  double measured = 0;
  for (const auto& [node, us] : s.measured_us) measured += us;
  if (!s.measured_us.empty()) out["measured_us"] = measured;
  out["allocating_launches"] = s.allocating;
  return out;
}

Json rejection(const Rejection& r) {
  return {{"code", code_name(r.code)},    {"op", r.op},           {"node", r.node},
          {"module_path", r.module_path}, {"subject", r.subject}, {"reason", r.reason},
          {"remedy", r.remedy},           {"excerpt", r.excerpt}};
}

/// Passes with the index of the stage they left, if they changed anything.
Json passes(const Snapshot& s) {
  Json out = Json::array();
  std::size_t stage = 0;
  for (const PassRow& p : s.passes) {
    Json row = {{"name", p.name},
                {"changes", p.changes},
                {"nodes_before", p.nodes_before},
                {"nodes_after", p.nodes_after},
                {"ms", p.milliseconds}};
    if (!p.notes.empty()) row["notes"] = p.notes;
    if (p.changes != 0 && stage + 1 < s.stages.size()) row["stage"] = ++stage;
    out.push_back(std::move(row));
  }
  return out;
}

Json runs(const std::vector<DiffRun>& diff) {
  Json out = Json::array();
  for (const DiffRun& run : diff) {
    out.push_back({run.kind == DiffRun::Kind::kSame    ? "="
                   : run.kind == DiffRun::Kind::kAdded ? "+"
                                                       : "-",
                   run.count});
  }
  return out;
}

std::size_t bytes_of(const std::vector<std::string>& lines, std::size_t from) {
  std::size_t bytes = 0;
  for (std::size_t i = from; i < lines.size(); ++i) bytes += lines[i].size();
  return bytes;
}

/// Every stage as numbers of lines, and what changed from the stage before.
Json stages(const Snapshot& s, LineTable& table, std::size_t max_bytes) {
  Json out = Json::array();
  std::vector<std::int32_t> before;
  std::size_t used = bytes_of(table.lines(), 0);
  bool cut = false;
  for (std::size_t i = 0; i < s.stages.size(); ++i) {
    Json stage = {{"name", s.stages[i].name}, {"file", stage_file(i, s.stages[i].name)}};
    if (!cut) {
      const std::size_t known = table.lines().size();
      std::vector<std::int32_t> ids = table.intern(s.stages[i].text);
      used += bytes_of(table.lines(), known);
      stage["lines"] = ids;
      if (i > 0) stage["diff"] = runs(diff(before, ids));
      before = std::move(ids);
      cut = used > max_bytes;
    } else {
      stage["cut"] = true;
    }
    out.push_back(std::move(stage));
  }
  return out;
}

Json texts(const std::vector<Text>& texts) {
  Json out = Json::array();
  for (const Text& t : texts) out.push_back({{"name", t.name}, {"text", t.text}});
  return out;
}

/// Sources up to a size; what is left out is in the files beside.
Json sources(const std::vector<Source>& sources, std::size_t max_bytes) {
  Json out = Json::array();
  std::size_t used = 0;
  for (const Source& s : sources) {
    Json row = {{"name", s.name}, {"nodes", s.nodes}};
    used += s.text.size();
    if (used <= max_bytes) {
      row["text"] = s.text;
    } else {
      row["cut"] = true;
    }
    out.push_back(std::move(row));
  }
  return out;
}

}  // namespace

std::string stage_file(std::size_t index, const std::string& name) {
  return fmt::format("{:02}_{}.txt", index, name);
}

std::string json_text(const Snapshot& snapshot, std::size_t max_text_bytes) {
  Json out;
  out["format"] = "monograph-dump";
  out["version"] = 1;
  out["monograph"] = MONOGRAPH_VERSION_STRING;
  out["module"] = snapshot.module;
  out["key"] = snapshot.key;
  out["backend"] = snapshot.backend;
  out["summary"] = summary(snapshot);
  if (snapshot.rejection != nullptr) out["rejection"] = rejection(*snapshot.rejection);
  out["passes"] = passes(snapshot);
  LineTable table;
  if (snapshot.graph != nullptr) {
    out["nodes"] = nodes_json(snapshot, table.intern(ir::text(*snapshot.graph)), table);
    out["fusions"] = fusions_json(*snapshot.graph);
  }
  if (snapshot.lowered != nullptr) out["launches"] = launches_json(snapshot);
  if (snapshot.plan != nullptr) out["plan"] = plan_json(*snapshot.plan);
  out["stages"] = stages(snapshot, table, max_text_bytes);
  out["lines"] = table.lines();
  out["backend_texts"] = texts(snapshot.backend_texts);
  out["sources"] = sources(snapshot.sources, max_text_bytes / 2);
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace monograph::dump
