// Snapshots for tests: made by the real passes, lowering and planner from graphs built here.
#pragma once

#include <memory>
#include <string>

#include "runtime/dump/snapshot.h"

namespace monograph::dump::testing {

/// A snapshot with everything it points to.
struct Made {
  std::unique_ptr<ir::Graph> graph;
  std::unique_ptr<lower::Lowered> lowered;
  std::unique_ptr<plan::Plan> plan;
  std::unique_ptr<Rejection> rejection;
  Snapshot snapshot;
};

/// An encoder of `layers` attention blocks as a trace would record it, with module paths.
ir::Graph encoder(int layers, int tokens = 32, int width = 64);

/// Runs the default pipeline on `graph`, lowers and plans it.
Made make(ir::Graph graph, const std::string& module);

/// Names, texts and paths full of markup, quotes, and bytes that aren't UTF-8.
Made hostile();

/// A refused module.
Made rejected();

}  // namespace monograph::dump::testing
