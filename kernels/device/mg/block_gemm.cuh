// Products of a weight matrix with tens to hundreds of vectors on the tensor cores, for epilogues
// that libraries don't have.
//
// A block makes a tile of results; four warps share it, two by two. 64 columns at a time of the
// tile's rows of both operands lie in a ring in shared memory, 128 bytes a row, filled by
// asynchronous copies of whole lines. Within 32 columns each lane takes eight neighbouring ones of
// its rows, which permutes the inner index of two m16n8k16 products alike for both operands: every
// fragment is one 16-byte load. The halves of every other row change places, so that eight lanes,
// which read from two rows, are free of bank conflicts. Sums go through shared memory to threads
// that have neighbouring results.
#pragma once

#include "mg/elementwise.cuh"

namespace mg {

template <class T_, int M_, int UNITS_, int PARTS_, int K_, long long STRIDE_, int ROWS_,
          int COLUMNS_, int STAGES_, bool PREFETCH_>
struct BlockShape {
  using T = T_;
  static constexpr int M = M_, UNITS = UNITS_, PARTS = PARTS_, K = K_;
  static constexpr long long STRIDE = STRIDE_;
  static constexpr int ROWS = ROWS_;        // of a tile: vectors
  static constexpr int COLUMNS = COLUMNS_;  // of a tile: units, of each part
  static constexpr int STAGES = STAGES_;
  static constexpr bool PREFETCH = PREFETCH_;
  static constexpr int kThreads = 128;
  static constexpr int kDepth = 64;           // columns of K in a stage
  static constexpr int kChunks = kDepth / 8;  // of 16 bytes in a row of it
  static constexpr int kSteps = (K + kDepth - 1) / kDepth;
  static constexpr int kWeightRows = PARTS * COLUMNS;
  static constexpr int kStageBytes = (ROWS + kWeightRows) * kDepth * 2;
  static constexpr int kHigh = ROWS / 2 / 16;     // products of a warp, down
  static constexpr int kWide = COLUMNS / 2 / 8;   // and across
  static constexpr int kSumStride = COLUMNS + 8;  // floats between rows of sums
  static_assert(PARTS * ROWS * kSumStride * 4 <= STAGES * kStageBytes, "sums fit into the ring");
};

/// Where 16-byte chunk `chunk` of row `row` lies in a stage, in chunks.
template <class S>
__device__ __forceinline__ int chunk_at(int row, int chunk) {
  return row * S::kChunks + (chunk ^ (row % 2 * (S::kChunks / 2)));
}

/// 16 bytes of a row into the ring; zeros beyond the last column.
template <class S>
__device__ __forceinline__ void load_chunk(unsigned char* to, const typename S::T* row,
                                           int column) {
  if (column < S::K) {
    copy_async(to, row + column);
  } else {
    *reinterpret_cast<uint4*>(to) = make_uint4(0, 0, 0, 0);
  }
}

/// The tile's vectors of stage `step`. Rows beyond the last are computed and dropped.
template <class S>
__device__ __forceinline__ void load_vectors(unsigned char* stage, const typename S::T* x,
                                             int step) {
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < S::ROWS * S::kChunks; i += S::kThreads) {
    const int row = i / S::kChunks;
    int m = static_cast<int>(blockIdx.y) * S::ROWS + row;
    m = m < S::M ? m : S::M - 1;
    load_chunk<S>(stage + chunk_at<S>(row, i % S::kChunks) * 16,
                  x + static_cast<long long>(m) * S::K, step * S::kDepth + i % S::kChunks * 8);
  }
}

template <class S>
__device__ __forceinline__ void load_weights(unsigned char* stage, const typename S::T* weight,
                                             int step) {
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < S::kWeightRows * S::kChunks; i += S::kThreads) {
    const int row = i / S::kChunks;
    int n = static_cast<int>(blockIdx.x) * S::COLUMNS + row % S::COLUMNS;
    n = n < S::UNITS ? n : S::UNITS - 1;
    n += row / S::COLUMNS * S::UNITS;
    load_chunk<S>(stage + chunk_at<S>(S::ROWS + row, i % S::kChunks) * 16, weight + n * S::STRIDE,
                  step * S::kDepth + i % S::kChunks * 8);
  }
}

/// 32 of a stage's columns, its first or its second ones.
template <class S>
__device__ __forceinline__ void multiply_stage(const unsigned char* stage, int part, int down,
                                               int across, int lane,
                                               float (&acc)[S::PARTS][S::kHigh][S::kWide][4]) {
  const auto* chunks = reinterpret_cast<const uint4*>(stage);
  const int chunk = part * 4 + lane % 4;
  uint4 low[S::kHigh];
  uint4 high[S::kHigh];
#pragma unroll
  for (int h = 0; h < S::kHigh; ++h) {
    const int row = (down * S::kHigh + h) * 16 + lane / 4;
    low[h] = chunks[chunk_at<S>(row, chunk)];
    high[h] = chunks[chunk_at<S>(row + 8, chunk)];
  }
#pragma unroll
  for (int p = 0; p < S::PARTS; ++p) {
#pragma unroll
    for (int w = 0; w < S::kWide; ++w) {
      const int row = S::ROWS + p * S::COLUMNS + (across * S::kWide + w) * 8 + lane / 4;
      const uint4 b = chunks[chunk_at<S>(row, chunk)];
      const unsigned b0[2] = {b.x, b.y};
      const unsigned b1[2] = {b.z, b.w};
#pragma unroll
      for (int h = 0; h < S::kHigh; ++h) {
        const unsigned a0[4] = {low[h].x, high[h].x, low[h].y, high[h].y};
        const unsigned a1[4] = {low[h].z, high[h].z, low[h].w, high[h].w};
        mma(acc[p][h][w], a0, b0, static_cast<const typename S::T*>(nullptr));
        mma(acc[p][h][w], a1, b1, static_cast<const typename S::T*>(nullptr));
      }
    }
  }
}

template <class S>
__device__ __forceinline__ void keep_sums(const float (&acc)[S::PARTS][S::kHigh][S::kWide][4],
                                          int down, int across, int lane, float* sums) {
#pragma unroll
  for (int p = 0; p < S::PARTS; ++p) {
#pragma unroll
    for (int h = 0; h < S::kHigh; ++h) {
#pragma unroll
      for (int w = 0; w < S::kWide; ++w) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int row = (down * S::kHigh + h) * 16 + lane / 4 + i / 2 * 8;
          const int column = (across * S::kWide + w) * 8 + lane % 4 * 2 + i % 2;
          sums[(p * S::ROWS + row) * S::kSumStride + column] = acc[p][h][w][i];
        }
      }
    }
  }
}

template <class S, class Epilogue>
__device__ __forceinline__ void store_tile(const float* sums, const Epilogue& epilogue) {
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < S::ROWS * S::COLUMNS; i += S::kThreads) {
    const int row = i / S::COLUMNS;
    const int column = i % S::COLUMNS;
    const int m = static_cast<int>(blockIdx.y) * S::ROWS + row;
    const int n = static_cast<int>(blockIdx.x) * S::COLUMNS + column;
    float sum[S::PARTS];
#pragma unroll
    for (int p = 0; p < S::PARTS; ++p) {
      sum[p] = sums[(p * S::ROWS + row) * S::kSumStride + column];
    }
    if (m < S::M && n < S::UNITS) epilogue(m, n, sum);
  }
}

template <class S, class Epilogue>
__device__ __forceinline__ void block_gemm(const typename S::T* weight, const typename S::T* x,
                                           unsigned char* ring, const Epilogue& epilogue) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const auto stage = [ring](int step) { return ring + step % S::STAGES * S::kStageBytes; };
  // Weights are on their way before what x depends on has finished.
  if (!S::PREFETCH) pdl_wait();
  for (int s = 0; s < S::STAGES - 1 && s < S::kSteps; ++s) load_weights<S>(stage(s), weight, s);
  if (S::PREFETCH) pdl_wait();
  for (int s = 0; s < S::STAGES - 1; ++s) {
    if (s < S::kSteps) load_vectors<S>(stage(s), x, s);
    copy_async_commit();
  }
  pdl_launch();
  float acc[S::PARTS][S::kHigh][S::kWide][4] = {};
  for (int step = 0; step < S::kSteps; ++step) {
    copy_async_wait<S::STAGES - 2>();
    __syncthreads();  // this stage is there for all, and all have done with the one before
    const int next = step + S::STAGES - 1;
    if (next < S::kSteps) {
      load_weights<S>(stage(next), weight, next);
      load_vectors<S>(stage(next), x, next);
    }
    copy_async_commit();
#pragma unroll 1
    for (int half = 0; half < 2; ++half) {
      multiply_stage<S>(stage(step), half, warp / 2, warp % 2, lane, acc);
    }
  }
  __syncthreads();  // all have done with the ring
  auto* sums = reinterpret_cast<float*>(ring);
  keep_sums<S>(acc, warp / 2, warp % 2, lane, sums);
  __syncthreads();
  store_tile<S>(sums, epilogue);
}

}  // namespace mg
