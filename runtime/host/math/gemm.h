// Single-precision matrix products for few rows, where libraries spend their time on packing and
// waking threads. No torch; called with plain pointers.
#pragma once

#include <cstdint>

namespace monograph::host::math {

/// y = x w + bias, or y = x wᵀ + bias; m rows, n columns, k products a sum. Rows are `ld*` floats
/// apart, elements of a row adjacent. `y` overlaps nothing. Every sum has one fixed order that
/// depends on `k` alone, so results are the same bits however the work is split among threads.
struct Gemm {
  const float* x = nullptr;     ///< m x k
  const float* w = nullptr;     ///< n x k for wᵀ, otherwise k x n
  const float* bias = nullptr;  ///< n; may be null
  float* y = nullptr;           ///< m x n
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  std::int64_t ldx = 0;
  std::int64_t ldw = 0;
  std::int64_t ldy = 0;
};

/// Computes columns [first, last) of y. Thread-safe.
using GemmFn = void (*)(const Gemm& problem, std::int64_t first, std::int64_t last);

/// Variants for one kind of processor.
struct GemmKernels {
  GemmFn nt = nullptr;  ///< y = x wᵀ + bias
  GemmFn nn = nullptr;  ///< y = x w + bias
};
/// The fastest that this processor runs; null if it has neither AVX2 with FMA nor AVX-512.
const GemmKernels* gemm_kernels() noexcept;

}  // namespace monograph::host::math
