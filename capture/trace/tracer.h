// Records one forward through a boxed fallback on one dispatch key. Sees torch, not CUDA.
#pragma once

#include <monograph/error.h>
#include <monograph/program.h>

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "capture/ir/graph.h"
#include "capture/trace/state_snapshot.h"
#include "capture/trace/values.h"

namespace monograph::trace {

/// A recording: graph, and the tensors behind its get_attr nodes.
struct Recording {
  ir::Graph graph;
  std::map<std::string, at::Tensor> weights;  ///< by get_attr target; references, not copies
  std::map<std::string, std::uint64_t> constant_sums;  ///< of constants, when first used
  std::vector<Survivor> survivors;  ///< what forward made and somebody still holds
  double milliseconds = 0;          ///< the recorded forward
  std::vector<at::Tensor> outputs;  ///< copies of forward's own, if they were asked for
  std::vector<StateSum> states;     ///< what it left in state that it wrote; likewise
};

/// Runs `module.forward(inputs)` once under InferenceMode and records it. See Program::trace for
/// errors. `name` becomes the graph's name. Refuses what one forward shows; see checked_record.
std::variant<Recording, Rejection> record(const Module& module,
                                          const std::vector<at::Tensor>& inputs,
                                          const std::string& name);

/// The same, and forward runs again on other data: what isn't the same both times is refused. A
/// first forward that builds something once and for all is told apart by a third. Takes from
/// `options`: name, graph_mode, mutable_state, check_twice, probe_inputs, guard_weights.
std::variant<Recording, Rejection> checked_record(const Module& module,
                                                  const std::vector<at::Tensor>& inputs,
                                                  const Options& options);

}  // namespace monograph::trace
