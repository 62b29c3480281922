// What a call must move and compute at least, and how long that takes. Decides fusions and fills
// reports; counts are of the algorithm, whatever kernel runs it.
#pragma once

#include "capture/ir/graph.h"

namespace monograph::ir {

/// Bytes read and written by one launch, each byte of an operand once, and floating-point
/// operations of matrix products. Views and what stays inside a fusion cost nothing.
struct Cost {
  double bytes = 0;
  double flops = 0;
  Cost& operator+=(const Cost& other) {
    bytes += other.bytes;
    flops += other.flops;
    return *this;
  }
};

/// Rates of a device, as measured: streaming reads, dense matrix products, and what a launch costs
/// beside its work when it runs as a node of a graph. The default is one H200.
struct Rates {
  double bytes_per_us = 4.6e6;
  double flops_per_us = 7.0e8;  ///< 16-bit operands
  double boundary_us = 0.75;
  static Rates h200() { return {}; }
  static Rates h100() { return {3.08e6, 7.0e8, 0.95}; }
};

/// Cost of one call that isn't a view (a view's is 0). For a fusion: of its arguments as its
/// subgraph uses them, and of its results.
Cost cost_of(const Node& call);

/// max(bytes / rate, flops / rate), in µs; without the boundary.
double work_us(const Cost& cost, const Rates& rates);

/// Sum over all launches of `graph` of work and boundary, in µs.
double predicted_us(const Graph& graph, const Rates& rates);

/// Distinct elements of `type` times their size: dimensions of stride 0 count once.
double distinct_bytes(const TensorType& type);

}  // namespace monograph::ir
