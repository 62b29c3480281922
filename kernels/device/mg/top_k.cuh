// The K largest or smallest of each row, in order.
//
// Every element becomes a 64-bit key that no other element of its row has: its value in an order of
// unsigned numbers, then its position, earlier ones first. A block sorts a slice of the row in
// shared memory and keeps its first P keys; the last block of each group of neighbours sorts what
// they kept, and so on until one is left. Keys differ, so the result doesn't depend on timing.
#pragma once

#include "mg/rows.cuh"

namespace mg {

/// K of N elements; P is the power of two from K on, SLICE one of at least 2 P.
template <class T_, int N_, int K_, int P_, int SLICE_, bool LARGEST_>
struct TopKShape {
  using T = T_;
  static constexpr int N = N_, K = K_, P = P_, SLICE = SLICE_;
  static constexpr bool LARGEST = LARGEST_;
  static constexpr int kThreads = 256;
  static constexpr int kArity = SLICE / P;  // blocks whose keys one block sorts
  static constexpr int kBlocks = (N + SLICE - 1) / SLICE;
};

/// Larger for what comes earlier. NaN counts as the largest number; both zeros are equal.
template <bool LARGEST, class T>
__device__ __forceinline__ unsigned long long top_key(T value, int position) {
  const float v = to_float(value);
  unsigned bits = __float_as_uint(v);
  bits = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  if (v == 0.0f) bits = 0x80000000u;
  if (v != v) bits = 0xffffffffu;
  if (!LARGEST) bits = ~bits;
  return (static_cast<unsigned long long>(bits) << 32) | (0xffffffffu - position);
}

/// Sorts `keys` in shared memory, largest first (Batcher's bitonic network).
template <int COUNT, int THREADS>
__device__ __forceinline__ void sort_keys(unsigned long long* keys) {
  for (int size = 2; size <= COUNT; size *= 2) {
    for (int step = size / 2; step > 0; step /= 2) {
      __syncthreads();
      for (int i = static_cast<int>(threadIdx.x); i < COUNT / 2; i += THREADS) {
        const int low = 2 * i - (i & (step - 1));
        const unsigned long long a = keys[low];
        const unsigned long long b = keys[low + step];
        if ((a < b) == ((low & size) == 0)) {
          keys[low] = b;
          keys[low + step] = a;
        }
      }
    }
  }
  __syncthreads();
}

/// `parts` holds P keys for each block of each level but the last one, `tickets` a number for each
/// group of blocks.
template <class S>
__device__ __forceinline__ void top_k(const typename S::T* x, typename S::T* values,
                                      long long* indices, unsigned long long* parts,
                                      unsigned* tickets) {
  __shared__ unsigned long long keys[S::SLICE];
  const int t = static_cast<int>(threadIdx.x);
  int id = static_cast<int>(blockIdx.x);
  for (int i = t; i < S::SLICE; i += S::kThreads) {
    const int at = id * S::SLICE + i;
    keys[i] = at < S::N ? top_key<S::LARGEST>(x[at], at) : 0;
  }
  sort_keys<S::SLICE, S::kThreads>(keys);
  for (int blocks = S::kBlocks; blocks > 1;) {
    const int groups = (blocks + S::kArity - 1) / S::kArity;
    const int group = id / S::kArity;
    const int first = group * S::kArity;
    const int members = blocks - first < S::kArity ? blocks - first : S::kArity;
    for (int i = t; i < S::P; i += S::kThreads) parts[id * S::P + i] = keys[i];
    if (!is_last_block(tickets + group, static_cast<unsigned>(members))) return;
    for (int i = t; i < S::SLICE; i += S::kThreads) {
      keys[i] = i < members * S::P ? load_coherent(parts + first * S::P + i) : 0;
    }
    sort_keys<S::SLICE, S::kThreads>(keys);
    parts += blocks * S::P;
    tickets += groups;
    id = group;
    blocks = groups;
  }
  for (int i = t; i < S::K; i += S::kThreads) {
    const int at = static_cast<int>(0xffffffffu - static_cast<unsigned>(keys[i]));
    values[i] = x[at];
    indices[i] = at;
  }
}

}  // namespace mg
