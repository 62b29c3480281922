// Products of a weight matrix of halves with up to sixteen vectors, bound by streaming the weights
// once; the tensor cores multiply, since adding up on the other cores would take longer than the
// memory does.
//
// A tile is eight rows of the weight, the columns of an m16n8k16 product whose rows are the
// vectors. A block owns tiles one after the other. One warp streams their rows, whole or in long
// pieces, through a ring in shared memory, filled by the copy engine before the kernel waits for
// the launches it depends on; eight warps share the columns of every piece; one adds up what they
// found and applies the epilogue. They wait for each other at barriers in shared memory alone.
// Dependents are launched first of all: with blocks small enough for two launches on a
// multiprocessor, the memory is busy across their boundary.
//
// Within 32 columns each lane takes eight neighbouring ones, which permutes the inner index of two
// products alike for both operands, so that a fragment is one 16-byte load.
#pragma once

#include "mg/gemv.cuh"

namespace mg {

template <class T_, int M_, int UNITS_, int PARTS_, int K_, long long STRIDE_, int COLUMNS_,
          int STAGES_, int NORM_, bool PREFETCH_, bool NORM_READY_>
struct TileShape {
  using T = T_;
  static constexpr int M = M_, UNITS = UNITS_, PARTS = PARTS_, K = K_;
  static constexpr long long STRIDE = STRIDE_;
  static constexpr int COLUMNS = COLUMNS_;  // of a stage, a multiple of 256
  static constexpr int STAGES = STAGES_;
  static constexpr int NORM = NORM_;
  static constexpr bool PREFETCH = PREFETCH_;      // weights are constant
  static constexpr bool NORM_READY = NORM_READY_;  // so are the norm's

  static constexpr int WARPS = 8;  // that multiply
  static constexpr int kAllWarps = WARPS + 2;
  static constexpr int kThreads = kAllWarps * 32;
  static constexpr int kRows = 8;   // of a tile
  static constexpr int kSlots = 4;  // tiles whose sums are under way
  static constexpr int kTiles = (UNITS + kRows - 1) / kRows;
  static constexpr int kHalves = M > 8 ? 2 : 1;
  static constexpr int kBatch = M > 8 ? 4 : 8;  // steps of 32 columns whose operands are held
  static constexpr int kSteps = (K + COLUMNS - 1) / COLUMNS;  // stages of a tile's part
  static constexpr int kTileStages = PARTS * kSteps;
  static constexpr int kSlice = COLUMNS / WARPS;
  static constexpr bool kEven = kSteps * COLUMNS == K;
  // Rows lie apart by an odd multiple of 64 bytes: neighbouring ones are in other banks.
  static constexpr int kRowBytes = COLUMNS * 2 + 64;
  static constexpr int kStageBytes = kRows * kRowBytes;
  static constexpr int kPadded = kSteps * COLUMNS;
  static constexpr int kXStride = kPadded + 32;
  static constexpr int kXChunks = (kPadded / 8 + kThreads - 1) / kThreads;  // of a thread
  static constexpr int kTileFloats = PARTS * M * kRows;                     // of a warp
  // Shared memory: ring, x, sums, barriers.
  static constexpr int kRingBytes = STAGES * kStageBytes;
  static constexpr int kXBytes = M * kXStride * 2;
  static constexpr int kPartBytes = kSlots * WARPS * kTileFloats * 4;
};

/// The block's barriers.
template <class S>
struct TileBarriers {
  unsigned long long* full;   // by stage: the copies have arrived
  unsigned long long* empty;  // by stage: every warp has used it
  unsigned long long* done;   // by slot: every warp has left its sums
  unsigned long long* free;   // by slot: they have been added

  __device__ __forceinline__ explicit TileBarriers(unsigned long long* at)
      : full(at), empty(at + S::STAGES), done(at + 2 * S::STAGES), free(done + S::kSlots) {}
  __device__ __forceinline__ void init() const {
    for (int s = 0; s < S::STAGES; ++s) {
      barrier_init(full + s, 1);
      barrier_init(empty + s, S::WARPS * kWarpArrivals);
    }
    for (int s = 0; s < S::kSlots; ++s) {
      barrier_init(done + s, S::WARPS * kWarpArrivals);
      barrier_init(free + s, kWarpArrivals);
    }
    barrier_fence();
  }
};

/// The tiles of a block.
template <class S>
struct TileRange {
  int first, last;
  __device__ __forceinline__ TileRange() {
    const long long blocks = gridDim.x;
    first = static_cast<int>(blockIdx.x * static_cast<long long>(S::kTiles) / blocks);
    last = static_cast<int>((blockIdx.x + 1LL) * S::kTiles / blocks);
  }
  __device__ __forceinline__ int stages() const { return (last - first) * S::kTileStages; }
};

/// Starts copying stage i of the block, a row a lane; a whole warp calls it.
template <class S>
__device__ __forceinline__ void issue_stage(const typename S::T* weight, const TileRange<S>& range,
                                            int i, unsigned char* ring,
                                            const TileBarriers<S>& barriers) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int unit = (range.first + i / S::kTileStages) * S::kRows;
  const int part = i / S::kSteps % S::PARTS;
  const int begin = i % S::kSteps * S::COLUMNS;
  const int width = S::kEven || S::K - begin > S::COLUMNS ? S::COLUMNS : S::K - begin;
  const int rows = S::UNITS - unit < S::kRows ? S::UNITS - unit : S::kRows;
  unsigned long long* const full = barriers.full + i % S::STAGES;
  if (lane == 0) barrier_expect(full, rows * width * 2);
  __syncwarp();
  if (lane < rows) {
    bulk_copy(ring + i % S::STAGES * S::kStageBytes + lane * S::kRowBytes,
              weight + static_cast<long long>(part * S::UNITS + unit + lane) * S::STRIDE + begin,
              width * 2, full);
  }
}

/// The norm's weights of this thread's columns, read before the kernel waits if they are constant.
template <class S>
struct NormWeights {
  uint4 weight[S::kXChunks], bias[S::kXChunks];

  __device__ __forceinline__ void load(const typename S::T* w, const typename S::T* b) {
    if (S::NORM == kNoNorm) return;
#pragma unroll
    for (int j = 0; j < S::kXChunks; ++j) {
      const int c = j * S::kThreads + static_cast<int>(threadIdx.x);
      if (c * 8 >= S::K) continue;
      weight[j] = *reinterpret_cast<const uint4*>(w + c * 8);
      if (b != nullptr) bias[j] = *reinterpret_cast<const uint4*>(b + c * 8);
    }
  }
};

/// Eight elements of x in the order in which they are one operand of two products, see
/// multiply_stage; and back.
template <class S>
__device__ __forceinline__ uint4 turned(const uint4& q) {
  return S::kHalves == 2 ? q : make_uint4(q.x, q.z, q.y, q.w);
}

/// Puts x into shared memory, normalised if asked for and rounded to T as the normalisation's own
/// result would be; zeros beyond its last column.
template <class S>
__device__ __forceinline__ void stage_vectors(const typename S::T* x, const NormWeights<S>& norm,
                                              bool biased, float epsilon, typename S::T* xs) {
  using T = typename S::T;
  const int t = static_cast<int>(threadIdx.x);
  float sum[S::M];
#pragma unroll
  for (int m = 0; m < S::M; ++m) {
    sum[m] = 0;
#pragma unroll
    for (int j = 0; j < S::kXChunks; ++j) {
      const int c = j * S::kThreads + t;
      if (c * 8 >= S::kPadded) continue;
      uint4 q = make_uint4(0, 0, 0, 0);
      if (c * 8 < S::K) {
        q = load_coherent(
            reinterpret_cast<const uint4*>(x + static_cast<long long>(m) * S::K + c * 8));
      }
      *reinterpret_cast<uint4*>(xs + m * S::kXStride + c * 8) = turned<S>(q);
      if (S::NORM == kNoNorm) continue;
      float v[8];
      unpack(q, v, xs);
#pragma unroll
      for (int i = 0; i < 8; ++i) sum[m] += S::NORM == kRmsNorm ? v[i] * v[i] : v[i];
    }
  }
  if (S::NORM != kNoNorm) {
    __shared__ float part[S::kAllWarps * S::M];
    float mean[S::M];
    block_sums<S::kAllWarps>(sum, part);
#pragma unroll
    for (int m = 0; m < S::M; ++m) mean[m] = S::NORM == kLayerNorm ? sum[m] * (1.0f / S::K) : 0.0f;
    if (S::NORM == kLayerNorm) {
#pragma unroll
      for (int m = 0; m < S::M; ++m) {
        sum[m] = 0;
        for (int c = t; c * 8 < S::K; c += S::kThreads) {
          float v[8];
          unpack(turned<S>(*reinterpret_cast<const uint4*>(xs + m * S::kXStride + c * 8)), v, xs);
#pragma unroll
          for (int i = 0; i < 8; ++i) sum[m] += (v[i] - mean[m]) * (v[i] - mean[m]);
        }
      }
      block_sums<S::kAllWarps>(sum, part);
    }
#pragma unroll
    for (int j = 0; j < S::kXChunks; ++j) {
      const int c = j * S::kThreads + t;
      if (c * 8 >= S::K) continue;
      float w[8];
      float b[8];
      unpack(norm.weight[j], w, xs);
      if (biased) unpack(norm.bias[j], b, xs);
#pragma unroll
      for (int m = 0; m < S::M; ++m) {
        const float scale = rsqrtf(sum[m] * (1.0f / S::K) + epsilon);
        uint4* const at = reinterpret_cast<uint4*>(xs + m * S::kXStride + c * 8);
        float v[8];
        unpack(turned<S>(*at), v, xs);
#pragma unroll
        for (int i = 0; i < 8; ++i) v[i] = (v[i] - mean[m]) * scale * w[i] + (biased ? b[i] : 0.0f);
        *at = turned<S>(pack(v, static_cast<const T*>(nullptr)));
      }
    }
  }
  __syncthreads();
}

/// Adds the products of this warp's columns of a stage; `columns` are left from its first on.
/// Operands of several steps are read before the first product: one step's wait for shared memory
/// is as long as all of them.
template <class S>
__device__ __forceinline__ void multiply_stage(const unsigned char* stage, const typename S::T* x,
                                               int columns, int lane, float (&acc)[4][4]) {
  constexpr int kAll = S::kSlice / 32;
  constexpr int kBatch = kAll < S::kBatch ? kAll : S::kBatch;
  static_assert(kAll % kBatch == 0, "a slice is a power of two of steps, or shorter than a batch");
  const int row = lane / 4;
  const int column = lane % 4 * 8;
  const unsigned char* const w = stage + row * S::kRowBytes + column * 2;
  // Rows of x that don't exist give results that nobody reads.
  const typename S::T* const low_at = x + (row < S::M ? row : 0) * S::kXStride + column;
  const typename S::T* const high_at = x + (row + 8 < S::M ? row + 8 : 0) * S::kXStride + column;
#pragma unroll
  for (int first = 0; first < kAll; first += kBatch) {
    uint4 b[kBatch];
    uint4 low[kBatch];
    uint4 high[kBatch];
#pragma unroll
    for (int j = 0; j < kBatch; ++j) {
      b[j] = low[j] = high[j] = make_uint4(0, 0, 0, 0);
      const int at = (first + j) * 32;
      if (!S::kEven && at + column >= columns) continue;
      b[j] = load_shared(w + at * 2);
      low[j] = load_shared(low_at + at);
      if (S::kHalves == 2) high[j] = load_shared(high_at + at);
    }
#pragma unroll
    for (int j = 0; j < kBatch; ++j) {
      const unsigned b0[2] = {b[j].x, b[j].y};
      const unsigned b1[2] = {b[j].z, b[j].w};
      if (S::kHalves == 2) {
        const unsigned a0[4] = {low[j].x, high[j].x, low[j].y, high[j].y};
        mma(acc[j % 2 * 2], a0, b0, x);
        const unsigned a1[4] = {low[j].z, high[j].z, low[j].w, high[j].w};
        mma(acc[j % 2 * 2 + 1], a1, b1, x);
      } else {
        // The first half of the columns is right in the upper rows of the product, the second in
        // the lower ones: both take x as it was read.
        const unsigned a[4] = {low[j].x, low[j].y, low[j].z, low[j].w};
        mma(acc[j % 2 * 2], a, b0, x);
        mma(acc[j % 2 * 2 + 1], a, b1, x);
      }
    }
  }
}

/// What one of the eight warps does.
template <class S>
__device__ __forceinline__ void multiply_tiles(const TileRange<S>& range, const unsigned char* ring,
                                               const typename S::T* xs, float* parts,
                                               const TileBarriers<S>& barriers) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int column = warp * S::kSlice;
  int i = 0;
  for (int tile = 0; tile < range.last - range.first; ++tile) {
    float acc[S::PARTS][4][4] = {};
#pragma unroll
    for (int p = 0; p < S::PARTS; ++p) {
      for (int s = 0; s < S::kSteps; ++s) {
        const int at = i % S::STAGES;
        barrier_wait(barriers.full + at, i / S::STAGES & 1);
        multiply_stage<S>(ring + at * S::kStageBytes + column * 2, xs + s * S::COLUMNS + column,
                          S::K - s * S::COLUMNS - column, lane, acc[p]);
        // Every lane has read the stage: the products waited for all of them.
        barrier_arrive_warp(barriers.empty + at);
        ++i;
      }
    }
    const int slot = tile % S::kSlots;
    if (tile >= S::kSlots) barrier_wait(barriers.free + slot, (tile / S::kSlots - 1) & 1);
    float* const mine = parts + (slot * S::WARPS + warp) * S::kTileFloats;
#pragma unroll
    for (int h = 0; h < S::kHalves; ++h) {
      const int m = lane / 4 + h * 8;
      if (m >= S::M) continue;
#pragma unroll
      for (int p = 0; p < S::PARTS; ++p) {
        float2 sum;
        const int odd = S::kHalves == 2 ? h * 2 : 2;  // where products of the second half are
        sum.x = (acc[p][0][h * 2] + acc[p][1][odd]) + (acc[p][2][h * 2] + acc[p][3][odd]);
        sum.y = (acc[p][0][h * 2 + 1] + acc[p][1][odd + 1]) +
                (acc[p][2][h * 2 + 1] + acc[p][3][odd + 1]);
        *reinterpret_cast<float2*>(mine + (p * S::M + m) * S::kRows + lane % 4 * 2) = sum;
      }
    }
    __syncwarp();
    barrier_arrive_warp(barriers.done + slot);
  }
}

/// What the last warp does: adds the others' sums in a fixed order.
template <class S, class Epilogue>
__device__ __forceinline__ void finish_tiles(const TileRange<S>& range, const float* parts,
                                             const TileBarriers<S>& barriers,
                                             const Epilogue& epilogue) {
  constexpr int kPasses = (S::M * S::kRows + 31) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int tile = 0; tile < range.last - range.first; ++tile) {
    const int slot = tile % S::kSlots;
    barrier_wait(barriers.done + slot, tile / S::kSlots & 1);
    float sum[kPasses][S::PARTS];
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int t = pass * 32 + lane;
#pragma unroll
      for (int p = 0; p < S::PARTS; ++p) {
        sum[pass][p] = 0;
        if (t >= S::M * S::kRows) continue;
#pragma unroll
        for (int w = 0; w < S::WARPS; ++w) {
          sum[pass][p] += parts[(slot * S::WARPS + w) * S::kTileFloats + p * S::M * S::kRows + t];
        }
      }
    }
    __syncwarp();
    barrier_arrive_warp(barriers.free + slot);
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int t = pass * 32 + lane;
      const int unit = (range.first + tile) * S::kRows + t % S::kRows;
      if (t < S::M * S::kRows && unit < S::UNITS) epilogue(t / S::kRows, unit, sum[pass]);
    }
  }
}

template <class S, class Epilogue>
__device__ __forceinline__ void tiles(const typename S::T* weight, const typename S::T* x,
                                      const typename S::T* norm_weight,
                                      const typename S::T* norm_bias, float epsilon,
                                      unsigned char* shared, const Epilogue& epilogue) {
  using T = typename S::T;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const TileRange<S> range;
  T* const xs = reinterpret_cast<T*>(shared + S::kRingBytes);
  float* const parts = reinterpret_cast<float*>(shared + S::kRingBytes + S::kXBytes);
  const TileBarriers<S> barriers(
      reinterpret_cast<unsigned long long*>(shared + S::kRingBytes + S::kXBytes + S::kPartBytes));
  const auto fill = [&] {
    if (warp != S::WARPS) return;
    if (threadIdx.x % 32 == 0) barriers.init();  // the others see it after the first stage's wait
    for (int i = 0; i < S::STAGES && i < range.stages(); ++i) {
      issue_stage<S>(weight, range, i, shared, barriers);
    }
  };
  NormWeights<S> norm;
  if (S::PREFETCH) fill();
  if (S::NORM_READY) norm.load(norm_weight, norm_bias);
  pdl_launch();
  pdl_wait();
  if (!S::PREFETCH) fill();
  if (!S::NORM_READY) norm.load(norm_weight, norm_bias);
  stage_vectors<S>(x, norm, norm_bias != nullptr, epsilon, xs);
  if (warp < S::WARPS) {
    multiply_tiles<S>(range, shared, xs, parts, barriers);
  } else if (warp == S::WARPS) {
    for (int i = S::STAGES; i < range.stages(); ++i) {
      barrier_wait(barriers.empty + i % S::STAGES, (i / S::STAGES - 1) & 1);
      issue_stage<S>(weight, range, i, shared, barriers);
    }
  } else {
    finish_tiles<S>(range, parts, barriers, epilogue);
  }
}

}  // namespace mg
