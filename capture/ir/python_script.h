// The parts of transformed_code.py that are the same for every graph.
#pragma once

#include <string_view>

namespace monograph::ir {

/// Imports, and the type of the tables that follow.
extern const std::string_view kPythonImports;
/// Reading and writing of safetensors, placement of tensors, `main`. Wants `WEIGHTS`, `INPUTS`,
/// `WEIGHTS_FILE`, `DEVICE` and `forward` before it.
extern const std::string_view kPythonMain;

}  // namespace monograph::ir
