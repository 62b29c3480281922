// Products of a weight matrix with up to eight vectors, bound by streaming the weights once.
//
// Every warp owns a contiguous range of output columns (rows of the weight) and one slice of their
// columns. It streams them through a ring of its own in shared memory, filled by the copy engine
// (by cp.async before sm_90), which keeps far more bytes in flight than registers could. The ring
// is filled before the kernel waits for the launches it depends on, since weights don't change.
#pragma once

#include "mg/elementwise.cuh"

namespace mg {

enum GemvNorm { kNoNorm = 0, kRmsNorm = 1, kLayerNorm = 2 };

/// Weights [PARTS * UNITS, K] with rows STRIDE apart; x is [M, K], dense.
template <class T_, int M_, int UNITS_, int PARTS_, int K_, long long STRIDE_, int WARPS_,
          int SPLIT_, int GRID_SPLIT_, int STAGES_, int MOST_UNITS_, int NORM_, bool PREFETCH_>
struct GemvShape {
  using T = T_;
  static constexpr int M = M_, UNITS = UNITS_, PARTS = PARTS_, K = K_;
  static constexpr long long STRIDE = STRIDE_;
  static constexpr int WARPS = WARPS_;            // of a block
  static constexpr int SPLIT = SPLIT_;            // warps that share a row
  static constexpr int GRID_SPLIT = GRID_SPLIT_;  // blocks that share a row
  static constexpr int STAGES = STAGES_;
  static constexpr int MOST_UNITS = MOST_UNITS_;  // of a group of warps
  static constexpr int NORM = NORM_;
  static constexpr bool PREFETCH = PREFETCH_;

  static constexpr int kVec = 16 / static_cast<int>(sizeof(T));
  static constexpr int kSlices = SPLIT * GRID_SPLIT;
  static constexpr int kSlice = ((K + kSlices - 1) / kSlices + kVec - 1) / kVec * kVec;
  static constexpr int kStageBytes = kSlice * static_cast<int>(sizeof(T));
  static constexpr int kChunks = (kSlice / kVec + 31) / 32;  // of a lane, in a stage
  static constexpr bool kEven = kSlice * kSlices == K && kSlice % (32 * kVec) == 0;
  static constexpr int kGroups = WARPS / SPLIT;
  static constexpr int kBlockColumns = GRID_SPLIT == 1 ? K : kSlice * SPLIT;
  // Shared memory: rings, x, barriers, partial results.
  static constexpr int kRingBytes = WARPS * STAGES * kStageBytes;
  static constexpr int kXBytes = (M * kBlockColumns * static_cast<int>(sizeof(T)) + 15) / 16 * 16;
  static constexpr int kBarrierBytes = (WARPS * STAGES * 8 + 15) / 16 * 16;
};

/// A warp's ring of stages.
template <class S>
struct WeightRing {
  using T = typename S::T;
  unsigned char* stages;
  unsigned long long* barriers;
  const T* weight;  // of the warp's slice: first row, first column
  int first;        // unit
  int rows;         // to stream: units times parts
  int bytes;        // of a row of this slice
  int lane;

  __device__ __forceinline__ const T* row(int i) const {
    const int unit = first + i / S::PARTS;
    const int part = i % S::PARTS;
    return weight + static_cast<long long>(part * S::UNITS + unit) * S::STRIDE;
  }
  __device__ __forceinline__ void start() {
#if __CUDA_ARCH__ >= 900
    if (lane == 0) {
      for (int s = 0; s < S::STAGES; ++s) barrier_init(barriers + s, 1);
      barrier_fence();
    }  // seen by other lanes before they wait: `stage_x` ends with a barrier of the block
#endif
    for (int i = 0; i < S::STAGES; ++i) issue(i);
  }
  /// Starts copying row i, if there is one, into its stage.
  __device__ __forceinline__ void issue(int i) {
    const int s = i % S::STAGES;
#if __CUDA_ARCH__ >= 900
    if (lane == 0 && i < rows) {
      barrier_expect(barriers + s, bytes);
      bulk_copy(stages + s * S::kStageBytes, row(i), bytes, barriers + s);
    }
#else
    if (i < rows) {
      const unsigned char* from = reinterpret_cast<const unsigned char*>(row(i));
      for (int b = lane * 16; b < bytes; b += 512) {
        copy_async(stages + s * S::kStageBytes + b, from + b);
      }
    }
    copy_async_commit();
#endif
  }
  __device__ __forceinline__ const uint4* wait(int i) {
    const int s = i % S::STAGES;
#if __CUDA_ARCH__ >= 900
    barrier_wait(barriers + s, i / S::STAGES & 1);
#else
    copy_async_wait<S::STAGES - 1>();  // a lane reads what it has copied itself
#endif
    return reinterpret_cast<const uint4*>(stages + s * S::kStageBytes);
  }
};

/// Sum of one value a thread over the block, for M values at once; all threads get it.
template <int WARPS, int M>
__device__ __forceinline__ void block_sums(float (&v)[M], float* part) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  __syncthreads();  // `part` may still be read
#pragma unroll
  for (int m = 0; m < M; ++m) {
    v[m] = warp_sum(v[m]);
    if (threadIdx.x % 32 == 0) part[warp * M + m] = v[m];
  }
  __syncthreads();
#pragma unroll
  for (int m = 0; m < M; ++m) {
    v[m] = 0;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) v[m] += part[w * M + m];
  }
}

/// Puts the block's columns of x into shared memory, normalised if asked for; rounded to T as the
/// normalisation's own result would be.
template <class S>
__device__ __forceinline__ void stage_x(const typename S::T* x, const typename S::T* norm_weight,
                                        const typename S::T* norm_bias, float epsilon,
                                        typename S::T* xs) {
  using T = typename S::T;
  constexpr int V = S::kVec;
  constexpr int kVectors = S::kBlockColumns / V;
  constexpr int kThreads = S::WARPS * 32;
  const int base = S::GRID_SPLIT == 1 ? 0 : static_cast<int>(blockIdx.y) * S::kBlockColumns;
  const int vectors = (S::K - base < S::kBlockColumns ? S::K - base : S::kBlockColumns) / V;
  float sum[S::M];
#pragma unroll
  for (int m = 0; m < S::M; ++m) {
    sum[m] = 0;
    for (int c = static_cast<int>(threadIdx.x); c < vectors; c += kThreads) {
      const uint4 q = load_coherent(
          reinterpret_cast<const uint4*>(x + static_cast<long long>(m) * S::K + base + c * V));
      reinterpret_cast<uint4*>(xs)[m * kVectors + c] = q;
      if (S::NORM == kNoNorm) continue;
      float v[V];
      unpack(q, v, xs);
#pragma unroll
      for (int i = 0; i < V; ++i) sum[m] += S::NORM == kRmsNorm ? v[i] * v[i] : v[i];
    }
  }
  if (S::NORM != kNoNorm) {
    __shared__ float part[S::WARPS * S::M];
    float mean[S::M];
    block_sums<S::WARPS>(sum, part);
#pragma unroll
    for (int m = 0; m < S::M; ++m) mean[m] = S::NORM == kLayerNorm ? sum[m] * (1.0f / S::K) : 0.0f;
    if (S::NORM == kLayerNorm) {
#pragma unroll
      for (int m = 0; m < S::M; ++m) {
        sum[m] = 0;
        for (int c = static_cast<int>(threadIdx.x); c < vectors; c += kThreads) {
          float v[V];
          unpack(reinterpret_cast<const uint4*>(xs)[m * kVectors + c], v, xs);
#pragma unroll
          for (int i = 0; i < V; ++i) sum[m] += (v[i] - mean[m]) * (v[i] - mean[m]);
        }
      }
      block_sums<S::WARPS>(sum, part);
    }
    for (int c = static_cast<int>(threadIdx.x); c < vectors; c += kThreads) {
      float w[V];
      float b[V];
      unpack(*reinterpret_cast<const uint4*>(norm_weight + c * V), w, xs);
      if (norm_bias != nullptr) unpack(*reinterpret_cast<const uint4*>(norm_bias + c * V), b, xs);
#pragma unroll
      for (int m = 0; m < S::M; ++m) {
        const float scale = rsqrtf(sum[m] * (1.0f / S::K) + epsilon);
        float v[V];
        unpack(reinterpret_cast<const uint4*>(xs)[m * kVectors + c], v, xs);
#pragma unroll
        for (int i = 0; i < V; ++i) {
          v[i] = (v[i] - mean[m]) * scale * w[i] + (norm_bias != nullptr ? b[i] : 0.0f);
        }
        reinterpret_cast<uint4*>(xs)[m * kVectors + c] = pack(v, static_cast<const T*>(nullptr));
      }
    }
  }
  __syncthreads();
}

/// Adds the products of a lane's chunks of one row of weights.
template <class S>
__device__ __forceinline__ void row_products(const uint4 (&w)[S::kChunks], const typename S::T* xs,
                                             int vectors, int lane, float (&sum)[S::M]) {
  constexpr int V = S::kVec;
#pragma unroll
  for (int m = 0; m < S::M; ++m) {
    float a = 0;
    float b = 0;
#pragma unroll
    for (int j = 0; j < S::kChunks; ++j) {
      if (!S::kEven && j * 32 + lane >= vectors) continue;
      float wv[V];
      float xv[V];
      unpack(w[j], wv, xs);
      unpack(reinterpret_cast<const uint4*>(xs + m * S::kBlockColumns)[j * 32 + lane], xv, xs);
#pragma unroll
      for (int i = 0; i < V; i += 2) {
        a = fmaf(wv[i], xv[i], a);
        b = fmaf(wv[i + 1], xv[i + 1], b);
      }
    }
    sum[m] = warp_sum(a + b);
  }
}

/// Adds parts of other warps and blocks, in a fixed order, and finishes units [from, to).
template <class S, class Epilogue>
__device__ __forceinline__ void finish_units(const float* part, int first_group_unit, float* parts,
                                             unsigned* tickets, const Epilogue& epilogue) {
  constexpr int kThreads = S::WARPS * 32;
  constexpr int kPer = S::MOST_UNITS * S::M;  // of a group
  const int groups = static_cast<int>(gridDim.x) * S::kGroups;
  __shared__ unsigned is_last;
  __syncthreads();
  for (int pass = 0; pass < 2; ++pass) {
    for (int t = static_cast<int>(threadIdx.x); t < S::kGroups * kPer; t += kThreads) {
      const int group = t / kPer;
      const int g = first_group_unit + group;
      const int from = static_cast<int>(static_cast<long long>(g) * S::UNITS / groups);
      const int to = static_cast<int>(static_cast<long long>(g + 1) * S::UNITS / groups);
      const int u = t % kPer / S::M;
      const int m = t % S::M;
      if (from + u >= to) continue;
      float acc[S::PARTS];
#pragma unroll
      for (int p = 0; p < S::PARTS; ++p) {
        float* const mine = parts + (static_cast<long long>(from + u) * S::PARTS + p) * S::M + m;
        constexpr long long kFar = static_cast<long long>(S::UNITS) * S::PARTS * S::M;
        acc[p] = 0;
        if (pass == 0) {
          for (int k = 0; k < S::SPLIT; ++k) {
            const int warp = group * S::SPLIT + k;
            acc[p] += part[((warp * S::MOST_UNITS + u) * S::PARTS + p) * S::M + m];
          }
          if (S::GRID_SPLIT > 1) mine[blockIdx.y * kFar] = acc[p];
        } else {
          for (int k = 0; k < S::GRID_SPLIT; ++k) acc[p] += load_coherent(mine + k * kFar);
        }
      }
      if (S::GRID_SPLIT == 1 || pass == 1) epilogue(m, from + u, acc);
    }
    if (S::GRID_SPLIT == 1 || pass == 1) break;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
      is_last = atomicAdd(tickets + blockIdx.x, 1u) == static_cast<unsigned>(S::GRID_SPLIT) - 1;
    }
    __syncthreads();
    if (is_last == 0) break;
    __threadfence();
    if (threadIdx.x == 0) tickets[blockIdx.x] = 0;
  }
}

template <class S, class Epilogue>
__device__ __forceinline__ void gemv(const typename S::T* weight, const typename S::T* x,
                                     const typename S::T* norm_weight,
                                     const typename S::T* norm_bias, float epsilon,
                                     unsigned char* shared, float* parts, unsigned* tickets,
                                     const Epilogue& epilogue) {
  using T = typename S::T;
  constexpr bool kShares = S::SPLIT > 1 || S::GRID_SPLIT > 1;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int slice = warp % S::SPLIT;
  const int column = (static_cast<int>(blockIdx.y) * S::SPLIT + slice) * S::kSlice;
  const int columns = S::K - column < S::kSlice ? S::K - column : S::kSlice;
  const int vectors = columns / S::kVec;
  const int groups = static_cast<int>(gridDim.x) * S::kGroups;
  const int group = static_cast<int>(blockIdx.x) * S::kGroups + warp / S::SPLIT;
  const int first = static_cast<int>(static_cast<long long>(group) * S::UNITS / groups);
  const int last = static_cast<int>(static_cast<long long>(group + 1) * S::UNITS / groups);

  T* const xs = reinterpret_cast<T*>(shared + S::kRingBytes);
  auto* const barriers = reinterpret_cast<unsigned long long*>(shared + S::kRingBytes + S::kXBytes);
  float* const part =
      reinterpret_cast<float*>(shared + S::kRingBytes + S::kXBytes + S::kBarrierBytes);
  WeightRing<S> ring{shared + warp * S::STAGES * S::kStageBytes,
                     barriers + warp * S::STAGES,
                     weight + column,
                     first,
                     (last - first) * S::PARTS,
                     columns * static_cast<int>(sizeof(T)),
                     lane};
  if (S::PREFETCH) ring.start();
  pdl_launch();
  pdl_wait();
  if (!S::PREFETCH) ring.start();
  stage_x<S>(x, norm_weight, norm_bias, epsilon, xs);
  const T* const xw = xs + slice * S::kSlice;

  float kept[S::PARTS];
  for (int i = 0; i < ring.rows; ++i) {
    const uint4* const from = ring.wait(i);
    uint4 w[S::kChunks];
#pragma unroll
    for (int j = 0; j < S::kChunks; ++j) {
      if (S::kEven || j * 32 + lane < vectors) w[j] = from[j * 32 + lane];
    }
    __syncwarp();  // every lane has read the stage
    ring.issue(i + S::STAGES);
    float sum[S::M];
    row_products<S>(w, xw, vectors, lane, sum);
    const int p = i % S::PARTS;
    if (kShares) {
      const int u = i / S::PARTS;
      float* const mine = part + ((warp * S::MOST_UNITS + u) * S::PARTS + p) * S::M;
#pragma unroll
      for (int m = 0; m < S::M; ++m) {
        if (lane == m) mine[m] = sum[m];
      }
      continue;
    }
#pragma unroll
    for (int q = 0; q < S::PARTS; ++q) {
#pragma unroll
      for (int m = 0; m < S::M; ++m) {
        if (q == p && lane == m) kept[q] = sum[m];
      }
    }
    if (p == S::PARTS - 1 && lane < S::M) epilogue(lane, first + i / S::PARTS, kept);
  }
  if (kShares) {
    finish_units<S>(part, static_cast<int>(blockIdx.x) * S::kGroups, parts, tickets, epilogue);
  }
}

}  // namespace mg
