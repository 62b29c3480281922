// What generated row kernels use: reductions over the threads that share a row.
#pragma once

#include "mg/elementwise.cuh"

namespace mg {

struct Add {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Multiply {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a * b;
  }
};
/// Larger operand; NaN if either is.
struct Larger {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a != a ? a : (b != b || b > a) ? b : a;
  }
};
struct Smaller {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a != a ? a : (b != b || b < a) ? b : a;
  }
};

/// A value and where it was.
template <class T>
struct Place {
  T value;
  long long index;
};
/// The first place of the largest value; NaN counts as larger than everything.
struct First {
  template <class T>
  static __device__ __forceinline__ bool before(const Place<T>& a, const Place<T>& b, bool better) {
    const bool na = a.value != a.value;
    const bool nb = b.value != b.value;
    if (na != nb) return na;
    if (na || a.value == b.value) return a.index < b.index;
    return better;
  }
};
struct LargestPlace {
  template <class T>
  __device__ __forceinline__ Place<T> operator()(const Place<T>& a, const Place<T>& b) const {
    return First::before(a, b, a.value > b.value) ? a : b;
  }
};
struct SmallestPlace {
  template <class T>
  __device__ __forceinline__ Place<T> operator()(const Place<T>& a, const Place<T>& b) const {
    return First::before(a, b, a.value < b.value) ? a : b;
  }
};

template <class T>
__device__ __forceinline__ T shuffle_xor(T v, int lanes) {
  return __shfl_xor_sync(0xffffffffu, v, lanes);
}
template <class T>
__device__ __forceinline__ Place<T> shuffle_xor(const Place<T>& v, int lanes) {
  Place<T> r;
  r.value = __shfl_xor_sync(0xffffffffu, v.value, lanes);
  r.index = __shfl_xor_sync(0xffffffffu, v.index, lanes);
  return r;
}

/// Reduction over groups of T neighbouring threads, T a power of two; every thread of the block
/// calls it and gets the result. `part` holds one value per warp if T is larger than a warp. The
/// order is fixed by thread numbers alone.
template <int T, class V, class Op>
__device__ __forceinline__ V group_reduce(V v, Op op, V* part) {
#pragma unroll
  for (int d = (T < 32 ? T : 32) / 2; d > 0; d >>= 1) v = op(v, shuffle_xor(v, d));
  if (T <= 32) return v;
  constexpr int kWarps = T > 32 ? T / 32 : 1;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane == 0) part[warp] = v;
  __syncthreads();
  v = part[warp / kWarps * kWarps + lane % kWarps];
#pragma unroll
  for (int d = kWarps / 2; d > 0; d >>= 1) v = op(v, shuffle_xor(v, d));
  return v;
}

/// Reduction over the threads of equal number modulo 32: T warps of a block, a row a lane.
template <int T, class V, class Op>
__device__ __forceinline__ V column_reduce(V v, Op op, V* part) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  part[warp * 32 + lane] = v;
  __syncthreads();
  v = part[lane];
  for (int w = 1; w < T; ++w) v = op(v, part[w * 32 + lane]);
  return v;
}

/// True, in every thread of the block, for the last of `blocks` blocks to come here, which sees
/// what the others wrote before they did. The ticket is zero before the launch and after it.
__device__ __forceinline__ bool is_last_block(unsigned* ticket, unsigned blocks) {
  __shared__ unsigned is_last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    is_last = atomicAdd(ticket, 1u) == blocks - 1 ? 1u : 0u;
    if (is_last != 0) *ticket = 0;
  }
  __syncthreads();
  if (is_last == 0) return false;
  __threadfence();
  return true;
}

/// What another block of the launch wrote.
template <class T>
__device__ __forceinline__ T load_share(const T* p) {
  return load_coherent(p);
}
template <class T>
__device__ __forceinline__ Place<T> load_share(const Place<T>* p) {
  return {load_coherent(&p->value), load_coherent(&p->index)};
}

}  // namespace mg
