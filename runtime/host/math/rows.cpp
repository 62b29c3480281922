#include "runtime/host/math/rows.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace monograph::host::math {
namespace {

// Partial sums: wide enough for any vector unit, fixed for repeatability.
constexpr int kLanes = 16;
using Lanes8 [[gnu::vector_size(32)]] = float;
using Lanes4 [[gnu::vector_size(16)]] = float;

inline float sum_of(const float* lanes) noexcept {
  Lanes8 low;
  Lanes8 high;
  std::memcpy(&low, lanes, sizeof low);
  std::memcpy(&high, lanes + 8, sizeof high);
  const Lanes8 eight = low + high;
  const Lanes4 four = __builtin_shufflevector(eight, eight, 0, 1, 2, 3) +
                      __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
  return (four[0] + four[1]) + (four[2] + four[3]);
}

/// Sum of f(i) over i < n in lanes.
template <class Fn>
inline float lane_sum(std::int64_t n, Fn f) noexcept {
  float lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma omp simd
    for (int l = 0; l < kLanes; ++l) lanes[l] += f(i + l);
  }
  for (int l = 0; i < n; ++i, ++l) lanes[l] += f(i);
  return sum_of(lanes);
}

/// e^x for x <= 0 and a little above, relative error about 1e-7: e^x = 2^k e^r with |r| <= ln2/2,
/// e^r by the polynomial of Cephes' expf. Zero below -87.3; -inf gives 0, NaN gives NaN.
inline float exp_nonpositive(float x) noexcept {
  constexpr float kLog2e = 1.44269504088896341F;
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kSmallest = -87.3365F;
  const float clamped = x > kSmallest ? x : kSmallest;
  // Adding and taking away 1.5 * 2^23 rounds to the nearest integer.
  constexpr float kRounder = 12582912.0F;
  const float k = (clamped * kLog2e + kRounder) - kRounder;
  const float r = (clamped - k * kLn2High) - k * kLn2Low;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  const auto bits = (static_cast<std::int32_t>(k) + 127) << 23;
  const float y = p * std::bit_cast<float>(bits);
  const float finite = x > kSmallest ? y : 0.0F;
  return x == x ? finite : x;
}

inline float erf_rational(float value) noexcept {
  constexpr float kBound = 4.0F;  // erf rounds to 1 beyond
  float x = value < kBound ? value : kBound;
  x = x > -kBound ? x : -kBound;
  const float s = x * x;
  float p = -2.72614225801306e-10F;
  p = p * s + 2.77068142495902e-08F;
  p = p * s - 2.10102402082508e-06F;
  p = p * s - 5.69250639462346e-05F;
  p = p * s - 7.34990630326855e-04F;
  p = p * s - 2.95459980854025e-03F;
  p = p * s - 1.60960333262415e-02F;
  float q = -1.45660718464996e-05F;
  q = q * s - 2.13374055278905e-04F;
  q = q * s - 1.68282697438203e-03F;
  q = q * s - 7.37332916720468e-03F;
  q = q * s - 1.42647390514189e-02F;
  return x * p / q;
}

}  // namespace

void layer_norm_row(const float* x, const float* weight, const float* bias, float* y,
                    std::int64_t n, float eps) noexcept {
  const auto count = static_cast<float>(n);
  const float mean = lane_sum(n, [=](std::int64_t i) { return x[i]; }) / count;
  const float variance = lane_sum(n,
                                  [=](std::int64_t i) {
                                    const float d = x[i] - mean;
                                    return d * d;
                                  }) /
                         count;
  const float scale = 1.0F / std::sqrt(variance + eps);
  if (weight != nullptr && bias != nullptr) {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const float normal = (x[i] - mean) * scale * (weight == nullptr ? 1.0F : weight[i]);
    y[i] = normal + (bias == nullptr ? 0.0F : bias[i]);
  }
}

float softmax_row(float* p, const float* mask, float scale, std::int64_t n) noexcept {
  float most = -std::numeric_limits<float>::infinity();
  if (mask == nullptr) {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) p[i] = p[i] * scale;
  } else {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) p[i] = p[i] * scale + mask[i];
  }
  // NaN is never the largest, but passes through the exponential into the sum.
#pragma omp simd reduction(max : most)
  for (std::int64_t i = 0; i < n; ++i) most = p[i] > most ? p[i] : most;
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) p[i] = exp_nonpositive(p[i] - most);
  const float inverse = 1.0F / lane_sum(n, [=](std::int64_t i) { return p[i]; });
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) p[i] *= inverse;
  return most;
}

void gelu(const float* x, float* y, std::int64_t n) noexcept {
  constexpr float kInverseRoot2 = 0.70710678118654752440F;
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    y[i] = 0.5F * x[i] * (1.0F + erf_rational(x[i] * kInverseRoot2));
  }
}

}  // namespace monograph::host::math
