// The 16-bit floating-point types with the names of cuda_fp16.h and cuda_bf16.h. Arithmetic is
// done in float and rounded once, as the hardware rounds.
#pragma once

namespace simt {
inline float half_to_float(uint16_t bits) {
  return float(__builtin_bit_cast(_Float16, bits));
}
inline uint16_t float_to_half(float v) {
  return __builtin_bit_cast(uint16_t, _Float16(v));
}
inline float bf16_to_float(uint16_t bits) {
  return __uint_as_float(uint32_t(bits) << 16);
}
inline uint16_t float_to_bf16(float v) {
  const uint32_t u = __float_as_uint(v);
  if (v != v) return 0x7fff;
  return uint16_t((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
}  // namespace simt

#define SIMT_HALF(T, T2, to_float, from_float)              \
  struct alignas(2) T {                                     \
    uint16_t bits;                                          \
    T() = default;                                          \
    T(float v) : bits(simt::from_float(v)) {}               \
    T(double v) : bits(simt::from_float(float(v))) {}       \
    T(int v) : bits(simt::from_float(float(v))) {}          \
    operator float() const { return simt::to_float(bits); } \
    static T from_bits(uint16_t b) {                        \
      T v;                                                  \
      v.bits = b;                                           \
      return v;                                             \
    }                                                       \
  };                                                        \
  struct alignas(4) T2 {                                    \
    T x, y;                                                 \
  };                                                        \
  inline T operator+(T a, T b) {                            \
    return T(float(a) + float(b));                          \
  }                                                         \
  inline T operator-(T a, T b) {                            \
    return T(float(a) - float(b));                          \
  }                                                         \
  inline T operator*(T a, T b) {                            \
    return T(float(a) * float(b));                          \
  }                                                         \
  inline T operator/(T a, T b) {                            \
    return T(float(a) / float(b));                          \
  }                                                         \
  inline T operator-(T a) {                                 \
    return T::from_bits(a.bits ^ 0x8000);                   \
  }                                                         \
  inline bool operator<(T a, T b) {                         \
    return float(a) < float(b);                             \
  }                                                         \
  inline bool operator>(T a, T b) {                         \
    return float(a) > float(b);                             \
  }                                                         \
  inline bool operator<=(T a, T b) {                        \
    return float(a) <= float(b);                            \
  }                                                         \
  inline bool operator>=(T a, T b) {                        \
    return float(a) >= float(b);                            \
  }                                                         \
  inline bool operator==(T a, T b) {                        \
    return float(a) == float(b);                            \
  }                                                         \
  inline bool operator!=(T a, T b) {                        \
    return float(a) != float(b);                            \
  }                                                         \
  inline T __hadd(T a, T b) {                               \
    return a + b;                                           \
  }                                                         \
  inline T __hsub(T a, T b) {                               \
    return a - b;                                           \
  }                                                         \
  inline T __hmul(T a, T b) {                               \
    return a * b;                                           \
  }                                                         \
  inline T __hfma(T a, T b, T c) {                          \
    return T(fmaf(float(a), float(b), float(c)));           \
  }                                                         \
  inline T __hmax(T a, T b) {                               \
    return T(fmaxf(float(a), float(b)));                    \
  }                                                         \
  inline T __hmin(T a, T b) {                               \
    return T(fminf(float(a), float(b)));                    \
  }                                                         \
  inline bool __hisnan(T a) {                               \
    return float(a) != float(a);                            \
  }                                                         \
  inline T2 __hadd2(T2 a, T2 b) {                           \
    return {a.x + b.x, a.y + b.y};                          \
  }                                                         \
  inline T2 __hmul2(T2 a, T2 b) {                           \
    return {a.x * b.x, a.y * b.y};                          \
  }                                                         \
  inline T2 __hfma2(T2 a, T2 b, T2 c) {                     \
    return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};  \
  }

SIMT_HALF(__half, __half2, half_to_float, float_to_half)
SIMT_HALF(__nv_bfloat16, __nv_bfloat162, bf16_to_float, float_to_bf16)
#undef SIMT_HALF
using half = __half;
using half2 = __half2;
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

inline float __half2float(__half v) {
  return float(v);
}
inline __half __float2half(float v) {
  return __half(v);
}
inline __half __float2half_rn(float v) {
  return __half(v);
}
inline unsigned short __half_as_ushort(__half v) {
  return v.bits;
}
inline __half __ushort_as_half(unsigned short v) {
  return __half::from_bits(v);
}
inline float __low2float(__half2 v) {
  return float(v.x);
}
inline float __high2float(__half2 v) {
  return float(v.y);
}
inline float2 __half22float2(__half2 v) {
  return {float(v.x), float(v.y)};
}
inline __half2 __floats2half2_rn(float a, float b) {
  return {__half(a), __half(b)};
}
inline __half2 __float22half2_rn(float2 v) {
  return {__half(v.x), __half(v.y)};
}
inline __half2 __halves2half2(__half a, __half b) {
  return {a, b};
}
inline float __bfloat162float(__nv_bfloat16 v) {
  return float(v);
}
inline __nv_bfloat16 __float2bfloat16(float v) {
  return __nv_bfloat16(v);
}
inline __nv_bfloat16 __float2bfloat16_rn(float v) {
  return __nv_bfloat16(v);
}
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 v) {
  return v.bits;
}
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short v) {
  return __nv_bfloat16::from_bits(v);
}
inline float __low2float(__nv_bfloat162 v) {
  return float(v.x);
}
inline float __high2float(__nv_bfloat162 v) {
  return float(v.y);
}
inline float2 __bfloat1622float2(__nv_bfloat162 v) {
  return {float(v.x), float(v.y)};
}
inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) {
  return {__nv_bfloat16(a), __nv_bfloat16(b)};
}
inline __nv_bfloat162 __float22bfloat162_rn(float2 v) {
  return {__nv_bfloat16(v.x), __nv_bfloat16(v.y)};
}
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) {
  return {a, b};
}
