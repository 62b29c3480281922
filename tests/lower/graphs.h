// Random and large graphs for tests of lowering.
#pragma once

#include <cstdint>
#include <random>

#include "capture/ir/graph.h"

namespace monograph::lower::testing {

/// A valid graph of `calls` calls: elementwise operators, views, lists taken apart, in-place
/// writes through views, calls whose results are partly fresh and partly views, weights, state.
/// Every output owns its storage.
ir::Graph random_graph(int calls, std::mt19937_64& random);

/// An encoder-like graph of about `nodes` nodes: linear, views, attention, residuals, norms.
ir::Graph encoder_graph(int nodes);

}  // namespace monograph::lower::testing
