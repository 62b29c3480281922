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
/// from `--inputs FILE.safetensors` (named by the placeholders' targets, or `in_0...` in
/// placeholder order), writes outputs `out_0...` to `--outputs FILE.safetensors`. `--device`
/// replaces the device of the trace. Every string is escaped; names are made valid identifiers.
///
/// `weights_file` holds for each get_attr target the values of that tensor, dense and row-major;
/// the script gives them back the strides, offsets and shared memory of the trace, since `view` and
/// its like depend on them.
/// Error(kInvalidGraph) with `node()` set if a node has no Python form (a verified graph's only
/// such case is a layout argument that torch doesn't name).
std::string python(const Graph& graph, const PythonOptions& options = {});

}  // namespace monograph::ir
