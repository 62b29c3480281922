// Records one forward through a boxed fallback on one dispatch key. Sees torch, not CUDA.
#pragma once

#include <monograph/error.h>
#include <monograph/program.h>

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "capture/ir/graph.h"

namespace monograph::trace {

/// A recording: graph, and the tensors behind its get_attr nodes.
struct Recording {
  ir::Graph graph;
  std::map<std::string, at::Tensor> weights;  ///< by get_attr target; references, not copies
  double milliseconds = 0;                    ///< the recorded forward
};

/// Runs `module.forward(inputs)` once under InferenceMode and records it. See Program::trace for
/// errors. `name` becomes the graph's name.
std::variant<Recording, Rejection> record(const Module& module,
                                          const std::vector<at::Tensor>& inputs,
                                          const std::string& name);

}  // namespace monograph::trace
