#include "runtime/host/math/gemm.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace monograph::host::math {

#if defined(__x86_64__)

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx2,fma")
namespace avx512 {
namespace {
using Vec = __m512;
constexpr std::int64_t kLanes = 16;
constexpr int kRows = 4;
inline Vec zero() {
  return _mm512_setzero_ps();
}
inline Vec load(const float* p) {
  return _mm512_loadu_ps(p);
}
inline Vec load_tail(const float* p, std::int64_t count) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1U << count) - 1U), p);
}
inline void store(float* p, Vec v) {
  _mm512_storeu_ps(p, v);
}
inline void store_tail(float* p, Vec v, std::int64_t count) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1U << count) - 1U), v);
}
inline Vec fill(float v) {
  return _mm512_set1_ps(v);
}
inline Vec fma(Vec a, Vec b, Vec c) {
  return _mm512_fmadd_ps(a, b, c);
}
inline __m128 fold(Vec v) {
  // Not _mm512_extractf32x8_ps: GCC 12's header makes it warn of an uninitialised variable.
  const __m256 low = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
  const __m256 high = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m256 half = _mm256_add_ps(low, high);
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}
#include "runtime/host/math/gemm_tile.inc"
}  // namespace
}  // namespace avx512
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
namespace {
using Vec = __m256;
constexpr std::int64_t kLanes = 8;
constexpr int kRows = 2;
inline Vec zero() {
  return _mm256_setzero_ps();
}
inline Vec load(const float* p) {
  return _mm256_loadu_ps(p);
}
inline __m256i first_lanes(std::int64_t count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane);
}
inline Vec load_tail(const float* p, std::int64_t count) {
  return _mm256_maskload_ps(p, first_lanes(count));
}
inline void store(float* p, Vec v) {
  _mm256_storeu_ps(p, v);
}
inline void store_tail(float* p, Vec v, std::int64_t count) {
  _mm256_maskstore_ps(p, first_lanes(count), v);
}
inline Vec fill(float v) {
  return _mm256_set1_ps(v);
}
inline Vec fma(Vec a, Vec b, Vec c) {
  return _mm256_fmadd_ps(a, b, c);
}
inline __m128 fold(Vec v) {
  return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
}
#include "runtime/host/math/gemm_tile.inc"
}  // namespace
}  // namespace avx2
#pragma GCC pop_options

const GemmKernels* gemm_kernels() noexcept {
  static constexpr GemmKernels kAvx512 = {avx512::columns_nt, avx512::columns_nn};
  static constexpr GemmKernels kAvx2 = {avx2::columns_nt, avx2::columns_nn};
  static const GemmKernels* chosen = []() -> const GemmKernels* {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      return &kAvx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &kAvx2;
    return nullptr;
  }();
  return chosen;
}

#else

const GemmKernels* gemm_kernels() noexcept {
  return nullptr;
}

#endif

}  // namespace monograph::host::math
