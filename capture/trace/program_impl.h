// What is behind a Program.
#pragma once

#include <monograph/program.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "capture/ir/graph.h"

namespace monograph {

struct Program::Impl {
  ir::Graph graph;
  std::vector<NamedTensor> weights;  ///< sorted by name; each a tensor of its own on its memory
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
  /// By input: integers that the trace ran on, as the elements between its first and its last, on
  /// the host; undefined for other types, large tensors, and if no trace ran. What runs a graph to
  /// warm up needs them: counts and indices that don't fit each other are faults on a device.
  std::vector<at::Tensor> examples;
  std::size_t nodes_traced = 0;
  std::vector<PassSummary> passes;
  double trace_ms = 0;
  double passes_ms = 0;
  std::vector<std::pair<std::string, std::string>> stages;
  std::shared_ptr<const void> owner;
};

namespace trace {

/// Signature and weights of a finished graph. `weights` may hold more than the graph reads; only
/// what it reads is kept. Throws Error(kInvalidArgument) for a weight that is missing or whose
/// dtype, sizes, strides or device differ from the graph's, Error(kInvalidGraph) for a graph
/// without outputs.
void complete(Program::Impl& impl, const std::map<std::string, at::Tensor>& weights);

/// See Program::Impl::examples.
std::vector<at::Tensor> examples_of(const std::vector<at::Tensor>& inputs);

}  // namespace trace
}  // namespace monograph
