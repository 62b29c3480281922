// Runs a dumped transformed_code.py under plain PyTorch and compares.
#pragma once

#include <ATen/core/TensorBody.h>
#include <monograph/program.h>

#include <filesystem>
#include <string>
#include <vector>

namespace monograph::bench {

/// Runs `folder`/transformed_code.py with `python` on `inputs`, named by `specs`, and returns the
/// largest difference of its outputs from `expected`. Leaves inputs.safetensors,
/// python_outputs.safetensors and python.log in `folder`. Error(kInvalidArgument) if `python` can't
/// be started, Error(kInternal) with the end of its messages if the script fails.
double python_difference(const std::filesystem::path& folder, const std::string& python,
                         const std::vector<TensorSpec>& specs,
                         const std::vector<at::Tensor>& inputs,
                         const std::vector<at::Tensor>& expected);

}  // namespace monograph::bench
