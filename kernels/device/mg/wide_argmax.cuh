// Position of the largest of many elements: blocks share a row, and the last to finish compares
// what each found.
#pragma once

#include "mg/rows.cuh"

namespace mg {

/// Rows of N elements, SPLITS blocks of THREADS threads to each; blockIdx.y is the row.
template <class T, int N, int SPLITS, int THREADS>
__device__ __forceinline__ void wide_argmax(const T* x, long long* out, Place<float>* found,
                                            unsigned* tickets) {
  constexpr int V = Vec<T>::kWidth;
  constexpr int kVectors = N / V;
  constexpr int kPasses = (kVectors + SPLITS * THREADS - 1) / (SPLITS * THREADS);
  __shared__ Place<float> part[THREADS / 32];
  __shared__ unsigned is_last;
  const LargestPlace larger;
  pdl_launch();
  pdl_wait();
  const T* const row = x + static_cast<long long>(blockIdx.y) * N;
  Place<float> best{-inf32(), 9223372036854775807LL};
#pragma unroll 4
  for (int p = 0; p < kPasses; ++p) {
    const int c =
        (p * SPLITS + static_cast<int>(blockIdx.x)) * THREADS + static_cast<int>(threadIdx.x);
    if (c >= kVectors) continue;
    float v[V];
    unpack(load_coherent(reinterpret_cast<const uint4*>(row) + c), v, row);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      best = larger(best, Place<float>{v[i], static_cast<long long>(c) * V + i});
    }
  }
  best = group_reduce<THREADS>(best, larger, part);
  Place<float>* const mine = found + blockIdx.y * SPLITS;
  if (threadIdx.x == 0) {
    mine[blockIdx.x] = best;
    __threadfence();
    is_last = atomicAdd(tickets + blockIdx.y, 1u) == static_cast<unsigned>(SPLITS) - 1;
  }
  __syncthreads();
  if (is_last == 0) return;
  __threadfence();
  if (threadIdx.x < 32) {
    best = Place<float>{-inf32(), 9223372036854775807LL};
    for (int s = static_cast<int>(threadIdx.x); s < SPLITS; s += 32) {
      Place<float> other;
      other.value = load_coherent(&mine[s].value);
      other.index = load_coherent(&mine[s].index);
      best = larger(best, other);
    }
#pragma unroll
    for (int d = 16; d > 0; d >>= 1) best = larger(best, shuffle_xor(best, d));
    if (threadIdx.x == 0) {
      out[blockIdx.y] = best.index;
      tickets[blockIdx.y] = 0;
    }
  }
}

}  // namespace mg
