// What a dump is made of: the graph at every stage, how it was lowered and planned, and figures.
// No torch, no CUDA: whoever has them fills this in.
#pragma once

#include <monograph/error.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "capture/ir/graph.h"
#include "runtime/lower/lower.h"
#include "runtime/plan/plan.h"

namespace monograph::dump {

/// A named text: a graph after a pass, a back end's own stage, a kernel's source.
struct Text {
  std::string name;
  std::string text;
};

/// Source of a kernel, and the nodes whose launches run it.
struct Source {
  std::string name;  ///< file name
  std::string text;
  std::vector<std::string> nodes;
};

/// One pass of the pipeline, whether it changed anything or not.
struct PassRow {
  std::string name;
  std::int64_t changes = 0;
  std::size_t nodes_before = 0;
  std::size_t nodes_after = 0;
  double milliseconds = 0;
  std::vector<std::string> notes;
};

/// Everything that is known of one module at one shape. Pointers are borrowed for the duration of a
/// call and may be null: what isn't there is left out of the dump.
struct Snapshot {
  std::string module;   ///< Options::name
  std::string key;      ///< shape key, "f32_1x32"
  std::string backend;  ///< "host", "cuda"
  std::size_t nodes_traced = 0;
  std::int64_t weight_bytes = 0;
  double trace_ms = 0;
  double passes_ms = 0;
  double build_ms = 0;
  std::vector<Text> stages;  ///< graph text after trace and after each pass that changed it
  std::vector<PassRow> passes;
  const ir::Graph* graph = nullptr;  ///< the final graph
  const lower::Lowered* lowered = nullptr;
  const plan::Plan* plan = nullptr;
  std::vector<Text> backend_texts;  ///< by stage name of the back end: "graph_nodes", "kernels"
  std::vector<Source> sources;
  std::map<std::string, double> measured_us;   ///< by node name, from a profile
  std::map<std::string, double> predicted_us;  ///< by node name
  std::vector<std::string> allocating;         ///< Report::allocating_launches
  const Rejection* rejection = nullptr;
};

}  // namespace monograph::dump
