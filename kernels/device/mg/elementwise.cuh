// What generated elementwise kernels use: packs of elements and conversions.
#pragma once

#include "mg/device.cuh"

namespace mg {

__device__ __forceinline__ float nan32() {
  return __uint_as_float(0x7fc00000u);
}
__device__ __forceinline__ float inf32() {
  return __uint_as_float(0x7f800000u);
}
__device__ __forceinline__ double nan64() {
  return static_cast<double>(nan32());
}
__device__ __forceinline__ double inf64() {
  return static_cast<double>(inf32());
}

template <class To, class From>
struct Convert {
  static __device__ __forceinline__ To from(From v) { return static_cast<To>(v); }
};
template <class From>
struct Convert<bool, From> {
  static __device__ __forceinline__ bool from(From v) { return v != static_cast<From>(0); }
};
template <>
struct Convert<bool, bool> {
  static __device__ __forceinline__ bool from(bool v) { return v; }
};
#define MG_CONVERT_HALF(T)                                                           \
  template <class To>                                                                \
  struct Convert<To, T> {                                                            \
    static __device__ __forceinline__ To from(T v) {                                 \
      return Convert<To, float>::from(to_float(v));                                  \
    }                                                                                \
  };                                                                                 \
  template <class From>                                                              \
  struct Convert<T, From> {                                                          \
    static __device__ __forceinline__ T from(From v) {                               \
      return from_float<T>(static_cast<float>(v));                                   \
    }                                                                                \
  };                                                                                 \
  template <>                                                                        \
  struct Convert<T, T> {                                                             \
    static __device__ __forceinline__ T from(T v) { return v; }                      \
  };                                                                                 \
  template <>                                                                        \
  struct Convert<bool, T> {                                                          \
    static __device__ __forceinline__ bool from(T v) { return to_float(v) != 0.0f; } \
  };
MG_CONVERT_HALF(f16)
MG_CONVERT_HALF(bf16)
#undef MG_CONVERT_HALF
template <>
struct Convert<f16, bf16> {
  static __device__ __forceinline__ f16 from(bf16 v) { return float_to_f16(to_float(v)); }
};
template <>
struct Convert<bf16, f16> {
  static __device__ __forceinline__ bf16 from(f16 v) { return float_to_bf16(to_float(v)); }
};

template <class To, class From>
__device__ __forceinline__ To convert(From v) {
  return Convert<To, From>::from(v);
}

/// N elements that travel together. Aligned to its size, so that a load is one or two instructions.
template <class T, int N>
struct alignas(sizeof(T) * N > 16 ? 16 : sizeof(T) * N) Pack {
  T v[N];
};
template <class T, int N>
__device__ __forceinline__ Pack<T, N> load_pack(const T* p) {
  return *reinterpret_cast<const Pack<T, N>*>(p);
}
template <class T, int N>
__device__ __forceinline__ void store_pack(T* p, const Pack<T, N>& v) {
  *reinterpret_cast<Pack<T, N>*>(p) = v;
}

}  // namespace mg
