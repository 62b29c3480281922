// Python form of a graph: a file that runs under plain PyTorch.
#pragma once

#include <string>

#include "capture/ir/graph.h"

namespace monograph::ir {

struct PythonOptions {
  /// File beside the script with the tensors named by get_attr targets (safetensors format).
  std::string weights_file = "weights.safetensors";
};

/// Source of `transformed_code.py`: `forward(weights, *inputs)` with one statement per node
/// (`torch.ops.aten....`), fusions as functions of their own, module paths as comments; and a
/// main that loads `weights_file` with nothing but the standard library and torch, reads inputs
/// from `--inputs FILE.safetensors` (names in placeholder order), writes outputs `out_0...` to
/// `--outputs FILE.safetensors`. Every string is escaped; names are made valid identifiers.
std::string python(const Graph& graph, const PythonOptions& options = {});

}  // namespace monograph::ir
