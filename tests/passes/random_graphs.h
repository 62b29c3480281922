// Random graphs full of views, writes, copies and weights, for tests of what passes preserve.
#pragma once

#include <cstddef>
#include <cstdint>

#include "capture/ir/graph.h"

namespace monograph::passes::testing {

/// A verified graph of about `calls` calls, the same for the same arguments on every machine.
ir::Graph random_graph(std::uint64_t seed, std::size_t calls);

}  // namespace monograph::passes::testing
