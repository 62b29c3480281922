// Products of a weight matrix with up to sixteen vectors on the tensor cores.
//
// The weights are the left operand, 16 rows a block; warps of a block share the columns. Within 32
// columns each lane takes eight neighbouring ones of its rows and of its vector, which permutes the
// inner index of two m16n8k16 products alike for both operands, so that every fragment is one
// 16-byte load and nothing passes through shared memory.
#pragma once

#include "mg/elementwise.cuh"

namespace mg {

template <class T_, int M_, int UNITS_, int PARTS_, int K_, long long STRIDE_, int WARPS_,
          int DEPTH_, bool PREFETCH_>
struct SkinnyShape {
  using T = T_;
  static constexpr int M = M_, UNITS = UNITS_, PARTS = PARTS_, K = K_;
  static constexpr long long STRIDE = STRIDE_;
  static constexpr int WARPS = WARPS_;
  static constexpr int DEPTH = DEPTH_;  // groups of 32 columns in flight
  static constexpr bool PREFETCH = PREFETCH_;
  static constexpr int kTiles = M > 8 ? 2 : 1;                   // of eight vectors
  static constexpr int kGroups = (K + 31) / 32;                  // of columns
  static constexpr int kRounds = (kGroups + WARPS - 1) / WARPS;  // of a warp
  static constexpr int kPartFloats = WARPS * PARTS * kTiles * 128;
};

__device__ __forceinline__ uint4 zero4() {
  return make_uint4(0, 0, 0, 0);
}

template <class S>
struct SkinnyWeights {
  uint4 low[S::PARTS], high[S::PARTS];  // rows g and g + 8
};

/// The weights of round `r` of this warp; zeros beyond the last column.
template <class S>
__device__ __forceinline__ void load_weights(const typename S::T* weight, int r, int warp, int lane,
                                             SkinnyWeights<S>& w) {
  const int column = (r * S::WARPS + warp) * 32 + lane % 4 * 8;
  int low = static_cast<int>(blockIdx.x) * 16 + lane / 4;
  int high = low + 8;
  // Rows beyond the last are computed and dropped.
  low = low < S::UNITS ? low : S::UNITS - 1;
  high = high < S::UNITS ? high : S::UNITS - 1;
#pragma unroll
  for (int p = 0; p < S::PARTS; ++p) {
    const bool inside = column < S::K;
    const auto* base = weight + static_cast<long long>(p * S::UNITS) * S::STRIDE + column;
    w.low[p] =
        inside ? load_stream(reinterpret_cast<const uint4*>(base + low * S::STRIDE)) : zero4();
    w.high[p] =
        inside ? load_stream(reinterpret_cast<const uint4*>(base + high * S::STRIDE)) : zero4();
  }
}

template <class S>
__device__ __forceinline__ void multiply_round(const typename S::T* x, int r, int warp, int lane,
                                               const SkinnyWeights<S>& w,
                                               float (&acc)[S::PARTS][S::kTiles][4]) {
  const int column = (r * S::WARPS + warp) * 32 + lane % 4 * 8;
#pragma unroll
  for (int n = 0; n < S::kTiles; ++n) {
    const int m = n * 8 + lane / 4;
    const bool inside = column < S::K && m < S::M;
    const uint4 b = inside ? load_coherent(reinterpret_cast<const uint4*>(
                                 x + static_cast<long long>(m) * S::K + column))
                           : zero4();
#pragma unroll
    for (int p = 0; p < S::PARTS; ++p) {
      const unsigned a0[4] = {w.low[p].x, w.high[p].x, w.low[p].y, w.high[p].y};
      const unsigned b0[2] = {b.x, b.y};
      mma(acc[p][n], a0, b0, x);
      const unsigned a1[4] = {w.low[p].z, w.high[p].z, w.low[p].w, w.high[p].w};
      const unsigned b1[2] = {b.z, b.w};
      mma(acc[p][n], a1, b1, x);
    }
  }
}

template <class S, class Epilogue>
__device__ __forceinline__ void skinny(const typename S::T* weight, const typename S::T* x,
                                       float* part, const Epilogue& epilogue) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  SkinnyWeights<S> ring[S::DEPTH];
  if (!S::PREFETCH) pdl_wait();
#pragma unroll
  for (int r = 0; r < S::DEPTH; ++r) load_weights<S>(weight, r, warp, lane, ring[r]);
  if (S::PREFETCH) pdl_wait();
  pdl_launch();
  float acc[S::PARTS][S::kTiles][4] = {};
  for (int r = 0; r < S::kRounds; r += S::DEPTH) {
#pragma unroll
    for (int d = 0; d < S::DEPTH; ++d) {
      const SkinnyWeights<S> w = ring[d];
      load_weights<S>(weight, r + d + S::DEPTH, warp, lane, ring[d]);
      multiply_round<S>(x, r + d, warp, lane, w, acc);
    }
  }
#pragma unroll
  for (int p = 0; p < S::PARTS; ++p) {
#pragma unroll
    for (int n = 0; n < S::kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + i / 2 * 8;
        const int column = lane % 4 * 2 + i % 2;
        part[((warp * S::PARTS + p) * S::kTiles + n) * 128 + row * 8 + column] = acc[p][n][i];
      }
    }
  }
  __syncthreads();
  for (int t = static_cast<int>(threadIdx.x); t < 16 * S::M; t += S::WARPS * 32) {
    const int row = t % 16;
    const int m = t / 16;
    const int unit = static_cast<int>(blockIdx.x) * 16 + row;
    if (unit >= S::UNITS) continue;
    float sum[S::PARTS];
#pragma unroll
    for (int p = 0; p < S::PARTS; ++p) {
      sum[p] = 0;
      for (int w = 0; w < S::WARPS; ++w) {
        sum[p] += part[((w * S::PARTS + p) * S::kTiles + m / 8) * 128 + row * 8 + m % 8];
      }
    }
    epilogue(m, unit, sum);
  }
}

}  // namespace mg
