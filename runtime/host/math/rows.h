// Single-precision work on rows of adjacent floats. No torch; plain pointers; thread-safe. Every
// reduction has one fixed order.
#pragma once

#include <cstdint>

namespace monograph::host::math {

/// y = (x - mean) / sqrt(variance + eps) * weight + bias over `n` elements; weight and bias may be
/// null. Mean and variance in two passes, as accurate as the sum allows. `y` may be `x`.
void layer_norm_row(const float* x, const float* weight, const float* bias, float* y,
                    std::int64_t n, float eps) noexcept;

/// In place: p = softmax(scale * p + mask); `mask` may be null, `n` >= 1. Returns the largest
/// scaled and masked element; if that is minus infinity, the row becomes NaN, as in LibTorch.
float softmax_row(float* p, const float* mask, float scale, std::int64_t n) noexcept;

/// y = x / 2 * (1 + erf(x / sqrt(2))). `y` may be `x`. erf by a rational approximation on
/// [-4, 4], within a few units in the last place (as in Eigen's generic_fast_erf_float).
void gelu(const float* x, float* y, std::int64_t n) noexcept;

}  // namespace monograph::host::math
