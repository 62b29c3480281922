// Random graphs that verify, for property tests.
#pragma once

#include <cstdint>

#include "capture/ir/graph.h"

namespace monograph::ir::testing {

/// A graph with about `nodes` nodes that uses everything an IR graph can hold: every kind of
/// argument, views, tied weights, in-place writes, lists, fusions, traits and hostile strings.
/// The same seed gives the same graph.
Graph random_graph(std::uint64_t seed, int nodes);

}  // namespace monograph::ir::testing
