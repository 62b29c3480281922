// Calls that a library can do in one go: what is asked of it, and on which operands.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "kernels/registry.h"
#include "runtime/cuda/library/problem.h"

namespace monograph::cuda {

/// A tensor of a kernels::Call: an input, or its first result.
struct OperandPlace {
  static constexpr std::int32_t kAbsent = -2;
  static constexpr std::int32_t kOutput = -1;
  std::int32_t input = kAbsent;  ///< index into Call::inputs, or one of the above
  std::int64_t byte_offset = 0;  ///< from the first element of that tensor
};

struct LibraryMatch {
  LibraryProblem problem;
  std::array<OperandPlace, kOperands> places;  ///< by OperandIndex
};

/// A product of matrices with what cuBLASLt can do in the same launch: a bias, a residual sum, ReLU
/// or the tanh form of GELU, a number as factor, a cast of the result. nullopt with the reason.
std::optional<LibraryMatch> match_matmul(const kernels::Call& call, std::string* why);
/// A convolution with bias, a sum and ReLU, as cuDNN does them in one launch.
std::optional<LibraryMatch> match_convolution(const kernels::Call& call, std::string* why);
/// Either.
std::optional<LibraryMatch> match_library(const kernels::Call& call, std::string* why);

}  // namespace monograph::cuda
