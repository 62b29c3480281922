// Products of a weight matrix with tens to hundreds of vectors on the tensor cores, for epilogues
// that libraries don't have.
//
// A block makes a tile of results. DEPTH columns at a time of the tile's rows of both operands lie
// in a ring in shared memory, filled by asynchronous copies of whole lines; where it holds all
// columns, everything is on its way at once. Warps share the tile, DOWN by ACROSS, and each of
// GROUPS such sets of warps takes other columns of every stage: enough warps to hide what each
// waits for, without operands being read more often than for fewer.
//
// Within 32 columns each lane takes eight neighbouring ones of its rows, which permutes the inner
// index of two m16n8k16 products alike for both operands: every fragment is one 16-byte load. The
// halves of every other row's lines change places, so that eight lanes, which read from two rows,
// are free of bank conflicts. Sums go through shared memory to threads that have neighbouring
// results.
#pragma once

#include "mg/elementwise.cuh"

namespace mg {

/// How a tile is made, see kernels/ops/block_gemm.cpp, which chooses.
template <int ROWS_, int COLUMNS_, int DOWN_, int ACROSS_, int GROUPS_, int DEPTH_, int STAGES_>
struct BlockTile {
  static constexpr int ROWS = ROWS_;                                      // vectors
  static constexpr int COLUMNS = COLUMNS_;                                // units, of each part
  static constexpr int DOWN = DOWN_, ACROSS = ACROSS_, GROUPS = GROUPS_;  // warps
  static constexpr int DEPTH = DEPTH_;                                    // columns of a stage
  static constexpr int STAGES = STAGES_;                                  // of the ring
};

template <class T_, int M_, int UNITS_, int PARTS_, int K_, long long STRIDE_, bool PREFETCH_,
          class Tile>
struct BlockShape : Tile {
  using T = T_;
  using Tile::ROWS, Tile::COLUMNS, Tile::DOWN, Tile::ACROSS, Tile::GROUPS, Tile::DEPTH,
      Tile::STAGES;
  static constexpr int M = M_, UNITS = UNITS_, PARTS = PARTS_, K = K_;
  static constexpr long long STRIDE = STRIDE_;
  static constexpr bool PREFETCH = PREFETCH_;
  static constexpr int kThreads = DOWN * ACROSS * GROUPS * 32;
  static constexpr int kChunks = DEPTH / 8;  // of 16 bytes in a row of a stage
  static constexpr int kSteps = (K + DEPTH - 1) / DEPTH;
  // Stages under way: all there are, or the ring but for the stage that is in use.
  static constexpr int kAhead = STAGES >= kSteps ? kSteps : STAGES - 1;
  // Of which weights come before the programmatic wait: what is asked for first is there first, and
  // all of them would hold up the vectors of the first products.
  static constexpr int kFirst = PREFETCH ? (kAhead < 2 ? kAhead : 2) : 0;
  static constexpr int kWeightRows = PARTS * COLUMNS;
  static constexpr int kStageBytes = (ROWS + kWeightRows) * DEPTH * 2;
  static constexpr int kHigh = ROWS / DOWN / 16;       // products of a warp, down
  static constexpr int kWide = COLUMNS / ACROSS / 8;   // and across
  static constexpr int kSlices = DEPTH / 32 / GROUPS;  // of a group in a stage
  static constexpr int kSumStride = COLUMNS + 8;       // floats between rows of sums
  static constexpr int kSums = PARTS * ROWS * kSumStride;
  static_assert(kHigh * DOWN * 16 == ROWS && kWide * ACROSS * 8 == COLUMNS, "warps fill the tile");
  static_assert(kSlices * GROUPS * 32 == DEPTH, "and the groups a stage");
};

/// This thread's warp and what it multiplies.
template <class S>
struct BlockPlace {
  int lane, across, down, group;
  __device__ __forceinline__ BlockPlace() {
    const unsigned warp = threadIdx.x / 32;
    lane = static_cast<int>(threadIdx.x % 32);
    across = static_cast<int>(warp % S::ACROSS);
    down = static_cast<int>(warp / S::ACROSS % S::DOWN);
    group = static_cast<int>(warp / (S::ACROSS * S::DOWN));
  }
};

/// Where 16-byte chunk `chunk` of row `row` lies in a stage, in chunks.
template <class S>
__device__ __forceinline__ int chunk_at(int row, int chunk) {
  return row * S::kChunks + (chunk ^ (row % 2 * 4));
}

/// 16 bytes of a row into the ring; zeros beyond the last column.
template <class S>
__device__ __forceinline__ void load_chunk(unsigned char* to, const typename S::T* row,
                                           int column) {
  if (S::K % S::DEPTH == 0 || column < S::K) {
    copy_async(to, row + column);
  } else {
    *reinterpret_cast<uint4*>(to) = make_uint4(0, 0, 0, 0);
  }
}

/// COUNT rows of a stage from its row `first` on; `source` says where each begins.
template <class S, int COUNT, class Source>
__device__ __forceinline__ void load_rows(unsigned char* stage, int first, int step,
                                          const Source& source) {
  constexpr int kAtOnce = S::kThreads / S::kChunks;
  const int chunk = static_cast<int>(threadIdx.x % S::kChunks);
  const int row = static_cast<int>(threadIdx.x / S::kChunks);
#pragma unroll
  for (int i = 0; i < COUNT; i += kAtOnce) {
    if (COUNT % kAtOnce != 0 && row + i >= COUNT) break;
    load_chunk<S>(stage + chunk_at<S>(first + row + i, chunk) * 16, source(row + i),
                  step * S::DEPTH + chunk * 8);
  }
}

/// The tile's vectors of stage `step`. Rows beyond the last are computed and dropped.
template <class S>
__device__ __forceinline__ void load_vectors(unsigned char* stage, const typename S::T* x,
                                             int step) {
  load_rows<S, S::ROWS>(stage, 0, step, [x](int row) {
    int m = static_cast<int>(blockIdx.y) * S::ROWS + row;
    if (S::M % S::ROWS != 0) m = m < S::M ? m : S::M - 1;
    return x + static_cast<long long>(m) * S::K;
  });
}

template <class S>
__device__ __forceinline__ void load_weights(unsigned char* stage, const typename S::T* weight,
                                             int step) {
  load_rows<S, S::kWeightRows>(stage, S::ROWS, step, [weight](int row) {
    const int part = S::PARTS == 1 ? 0 : row / S::COLUMNS;
    int n = static_cast<int>(blockIdx.x) * S::COLUMNS + row - part * S::COLUMNS;
    if (S::UNITS % S::COLUMNS != 0) n = n < S::UNITS ? n : S::UNITS - 1;
    return weight + (part * S::UNITS + n) * S::STRIDE;
  });
}

/// 32 of a stage's columns.
template <class S>
__device__ __forceinline__ void multiply_slice(const unsigned char* stage, int slice,
                                               const BlockPlace<S>& at,
                                               float (&acc)[S::PARTS][S::kHigh][S::kWide][4]) {
  const auto* chunks = reinterpret_cast<const uint4*>(stage);
  const int chunk = slice * 4 + at.lane % 4;
  uint4 low[S::kHigh];
  uint4 high[S::kHigh];
#pragma unroll
  for (int h = 0; h < S::kHigh; ++h) {
    const int row = (at.down * S::kHigh + h) * 16 + at.lane / 4;
    low[h] = chunks[chunk_at<S>(row, chunk)];
    high[h] = chunks[chunk_at<S>(row + 8, chunk)];
  }
#pragma unroll
  for (int p = 0; p < S::PARTS; ++p) {
#pragma unroll
    for (int w = 0; w < S::kWide; ++w) {
      const int row = S::ROWS + p * S::COLUMNS + (at.across * S::kWide + w) * 8 + at.lane / 4;
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

/// Sums of this group, a row after the other.
template <class S>
__device__ __forceinline__ void keep_sums(const float (&acc)[S::PARTS][S::kHigh][S::kWide][4],
                                          const BlockPlace<S>& at, float* sums) {
#pragma unroll
  for (int p = 0; p < S::PARTS; ++p) {
#pragma unroll
    for (int h = 0; h < S::kHigh; ++h) {
#pragma unroll
      for (int w = 0; w < S::kWide; ++w) {
        const int row = (at.down * S::kHigh + h) * 16 + at.lane / 4;
        const int column = (at.across * S::kWide + w) * 8 + at.lane % 4 * 2;
        float* const to = sums + at.group * S::kSums + (p * S::ROWS + row) * S::kSumStride + column;
        const float* a = acc[p][h][w];
        *reinterpret_cast<float2*>(to) = make_float2(a[0], a[1]);
        *reinterpret_cast<float2*>(to + 8 * S::kSumStride) = make_float2(a[2], a[3]);
      }
    }
  }
}

/// Neighbouring threads have neighbouring pairs of results.
template <class S, class Epilogue>
__device__ __forceinline__ void store_tile(const float* sums, const Epilogue& epilogue) {
  constexpr int kPairs = S::COLUMNS / 2;  // of a row
#pragma unroll 2
  for (int i = 0; i < S::ROWS * kPairs; i += S::kThreads) {
    const unsigned pair = static_cast<unsigned>(i) + threadIdx.x;
    const int row = static_cast<int>(pair / kPairs);
    const int column = static_cast<int>(pair % kPairs) * 2;
    if (S::ROWS * kPairs % S::kThreads != 0 && row >= S::ROWS) break;
    const int m = static_cast<int>(blockIdx.y) * S::ROWS + row;
    const int n = static_cast<int>(blockIdx.x) * S::COLUMNS + column;
    if (m >= S::M || n >= S::UNITS) continue;
    float acc[2][S::PARTS] = {};
#pragma unroll
    for (int p = 0; p < S::PARTS; ++p) {
#pragma unroll
      for (int g = 0; g < S::GROUPS; ++g) {
        const float2 sum = *reinterpret_cast<const float2*>(
            sums + g * S::kSums + (p * S::ROWS + row) * S::kSumStride + column);
        acc[0][p] += sum.x;
        acc[1][p] += sum.y;
      }
    }
    epilogue.pair(m, n, acc);
  }
}

template <class S, class Epilogue>
__device__ __forceinline__ void block_gemm(const typename S::T* weight, const typename S::T* x,
                                           unsigned char* ring, const Epilogue& epilogue) {
  const BlockPlace<S> at;
  const auto stage = [ring](int step) { return ring + step % S::STAGES * S::kStageBytes; };
  // Weights are on their way before what x depends on has finished.
  for (int s = 0; s < S::kFirst; ++s) load_weights<S>(stage(s), weight, s);
  pdl_wait();
  for (int s = 0; s < S::kAhead; ++s) {
    if (s >= S::kFirst) load_weights<S>(stage(s), weight, s);
    load_vectors<S>(stage(s), x, s);
    copy_async_commit();
  }
  pdl_launch();
  float acc[S::PARTS][S::kHigh][S::kWide][4] = {};
  for (int step = 0; step < S::kSteps; ++step) {
    copy_async_wait<S::kAhead - 1>();
    __syncthreads();  // this stage is there for all, and all have done with the one before
    const int next = step + S::kAhead;
    if (next < S::kSteps) {
      load_weights<S>(stage(next), weight, next);
      load_vectors<S>(stage(next), x, next);
    }
    copy_async_commit();
#pragma unroll
    for (int i = 0; i < S::kSlices; ++i) {
      multiply_slice<S>(stage(step), at.group * S::kSlices + i, at, acc);
    }
  }
  __syncthreads();  // all have done with the ring
  auto* sums = reinterpret_cast<float*>(ring);
  keep_sums<S>(acc, at, sums);
  __syncthreads();
  store_tile<S>(sums, epilogue);
}

}  // namespace mg
