// Reads NumPy's .npy files.
#pragma once

#include <ATen/core/TensorBody.h>

#include <string>

namespace monograph::cli {

/// The array of a file: little-endian, row-major, a type that tensors have.
/// Source: NumPy Enhancement Proposal 1, "A Simple File Format for NumPy Arrays".
/// Error(kInvalidFile) naming the file and what is wrong with it.
at::Tensor read_npy(const std::string& path);

}  // namespace monograph::cli
