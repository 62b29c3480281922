// Structural rules of a graph. Every pass must leave a graph that verifies.
#pragma once

#include "capture/ir/graph.h"

namespace monograph::ir {

/// Throws Error(kInvalidGraph) with `node()` set, naming the first violated rule:
///  - names unique, non-empty, at most 4096 bytes; arguments and graphs nest at most 64 deep;
///  - placeholders first, then get_attr and calls, one output, last;
///  - every argument node belongs to this graph and comes before its user; user lists agree;
///  - targets well-formed ("ns.op.overload", "operator.getitem", "fusion.NAME" that exists);
///  - values: rank of sizes and strides equal, sizes ≥ 0, offset ≥ 0, extent ≤ storage bytes,
///    no 64-bit overflow; defined iff it has a storage; storage ids in range; same device;
///  - a storage's first definition has the right kind: input by placeholder,
///    parameter | buffer | constant | state by get_attr, intermediate by call_function;
///  - placeholders have storages and targets of their own; get_attr nodes of one target read the
///    same tensor;
///  - aliases only of storages defined earlier; getitem's index in range, type equal to element;
///  - writes are arguments of the call, and only intermediate or state storages are written, in a
///    subgraph also those of placeholders;
///  - a fusion's call matches its subgraph's placeholders and outputs in count, dtype and sizes,
///  and
///    writes the arguments that its subgraph writes.
void verify(const Graph& graph);

}  // namespace monograph::ir
