#include "runtime/dump/write.h"

#include <fmt/format.h>

#include "runtime/dump/diff.h"
#include "runtime/dump/dot.h"
#include "runtime/dump/folder.h"
#include "runtime/dump/json.h"
#include "runtime/dump/json_parts.h"
#include "runtime/dump/model_explorer.h"
#include "runtime/dump/page.h"

namespace monograph::dump {
namespace {

namespace fs = std::filesystem;

void write_stages(const Snapshot& s, const fs::path& folder, bool texts) {
  for (std::size_t i = 0; i < s.stages.size(); ++i) {
    const std::string file = stage_file(i, file_name(s.stages[i].name));
    if (texts) write_file(folder / file, s.stages[i].text);
    if (i == 0) continue;
    const std::string before = stage_file(i - 1, file_name(s.stages[i - 1].name));
    write_file(folder / fs::path(file).replace_extension(".diff"),
               unified_diff(before, s.stages[i - 1].text, file, s.stages[i].text));
  }
}

void write_backend(const Snapshot& s, const fs::path& folder) {
  for (const Text& stage : s.backend_texts) {
    write_file(folder / (file_name(stage.name) + ".txt"), stage.text);
    if (stage.name == "graph_nodes") {
      write_file(folder / "device_graph.dot", device_graph_dot(stage.text));
    }
  }
  if (s.sources.empty()) return;
  fs::create_directory(folder / "kernels");
  for (const Source& source : s.sources) {
    write_file(folder / "kernels" / file_name(source.name), source.text);
  }
}

}  // namespace

void write(const Snapshot& snapshot, const fs::path& folder, const WriteOptions& options) {
  write_stages(snapshot, folder, options.stage_texts);
  if (snapshot.lowered != nullptr) {
    write_file(folder / "launches.txt", lower::text(*snapshot.lowered));
  }
  if (snapshot.plan != nullptr) {
    write_file(folder / "plan.txt", plan::text(*snapshot.plan));
    write_file(folder / "plan.dot", plan_dot(*snapshot.plan));
  }
  write_backend(snapshot, folder);
  if (snapshot.rejection != nullptr) {
    write_file(folder / "rejection.txt", snapshot.rejection->to_string() + "\n");
  }
  write_file(folder / "dump.json", json_text(snapshot));
  if (snapshot.graph != nullptr) {
    write_file(folder / "model_explorer.json", model_explorer_json(snapshot));
  }
  write_file(folder / "index.html", page(snapshot));
}

}  // namespace monograph::dump
