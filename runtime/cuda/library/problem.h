// What libraries are asked to compute, in plain numbers: no torch, no IR, no CUDA.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "kernels/registry.h"

namespace monograph::cuda {

/// What happens to every element last.
enum class Activation : std::uint8_t { kNone, kRelu, kGeluTanh };
std::string_view activation_name(Activation a) noexcept;

/// A matrix in memory, or `batch` of them: element (i, j) of one lies `i * ld + j` elements from
/// its first one, or `i + j * ld` if it is stored by columns.
struct MatrixLayout {
  kernels::DType dtype = kernels::DType::kF32;
  bool by_columns = false;
  std::int64_t ld = 1;
  std::int64_t batch_stride = 0;  ///< elements; 0: the same matrix for all
  std::int64_t alignment = 1;     ///< of its first element, bytes
  bool operator==(const MatrixLayout&) const = default;
};

/// D = act(alpha A B + beta C + bias) for each of `batch`: A is m x k, B k x n, C and D m x n, and
/// the bias has an element for each of the n columns, in D's dtype. C lies as D does by rows.
struct MatmulProblem {
  std::int64_t m = 0, n = 0, k = 0, batch = 1;
  MatrixLayout a, b, c, d;
  bool has_c = false, has_bias = false;
  bool constant_b = false;  ///< B is a weight: a replay streams it in
  double alpha = 1, beta = 0;
  Activation activation = Activation::kNone;
};

/// Y = act(conv(X, W) + bias + alpha Z) over two spatial dimensions, channels first in sizes.
struct ConvolutionProblem {
  kernels::DType dtype = kernels::DType::kF32;
  std::int64_t n = 0, c = 0, h = 0, w = 0;  ///< of X
  std::int64_t k = 0, r = 0, s = 0;         ///< of W, which has c / groups channels
  std::int64_t p = 0, q = 0;                ///< height and width of Y
  std::int64_t stride[2] = {1, 1}, padding[2] = {0, 0}, dilation[2] = {1, 1};
  std::int64_t groups = 1;
  bool channels_last = false;  ///< X, W, Y and Z lie with channels innermost; else row-major
  bool has_bias = false, has_z = false;
  double alpha_z = 1;
  Activation activation = Activation::kNone;  ///< none or ReLU
};

using LibraryProblem = std::variant<MatmulProblem, ConvolutionProblem>;

/// Everything that matters, in one line; equal problems have equal text.
std::string text(const LibraryProblem& problem);

/// The places of a problem's tensors in lists of addresses: A, B, D, C, bias; X, W, Y, Z, bias.
/// Absent ones have no bytes.
inline constexpr std::size_t kOperands = 5;
enum OperandIndex : std::size_t { kFirst, kSecond, kResult, kAddend, kBias };
std::vector<std::int64_t> operand_bytes(const LibraryProblem& problem);

/// The least it must move and compute.
kernels::Roofline roofline(const LibraryProblem& problem);

}  // namespace monograph::cuda
