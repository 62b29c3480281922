// CUDA's keywords, built-in variables and device functions, for kernels compiled by the host
// compiler. Included by simt.h only, after every standard header, because some names clash.
#pragma once

#ifndef __CUDA_ARCH__  // a test may ask for the ways of an older device
#define __CUDA_ARCH__ 900
#endif
#define MONOGRAPH_VIRTUAL_GPU 1
#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __maxnreg__(n)
#define __shared__ thread_local  // block scope: implies static; after extern: the dynamic array

// ---- vector types ----
#define SIMT_VECTOR(T, N)                                   \
  struct N##1 {                                             \
    T x;                                                    \
  };                                                        \
  struct alignas(2 * sizeof(T)) N##2 {                      \
    T x, y;                                                 \
  };                                                        \
  struct N##3 {                                             \
    T x, y, z;                                              \
  };                                                        \
  struct alignas(sizeof(T) < 8 ? 4 * sizeof(T) : 16) N##4 { \
    T x, y, z, w;                                           \
  };                                                        \
  inline N##1 make_##N##1(T x) {                            \
    return {x};                                             \
  }                                                         \
  inline N##2 make_##N##2(T x, T y) {                       \
    return {x, y};                                          \
  }                                                         \
  inline N##3 make_##N##3(T x, T y, T z) {                  \
    return {x, y, z};                                       \
  }                                                         \
  inline N##4 make_##N##4(T x, T y, T z, T w) {             \
    return {x, y, z, w};                                    \
  }
SIMT_VECTOR(signed char, char)
SIMT_VECTOR(unsigned char, uchar)
SIMT_VECTOR(short, short)
SIMT_VECTOR(unsigned short, ushort)
SIMT_VECTOR(int, int)
SIMT_VECTOR(unsigned, uint)
SIMT_VECTOR(long long, longlong)
SIMT_VECTOR(unsigned long long, ulonglong)
SIMT_VECTOR(float, float)
SIMT_VECTOR(double, double)
#undef SIMT_VECTOR
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

#define threadIdx (simt::core().now.thread)
#define blockIdx (simt::core().now.block)
#define blockDim (simt::core().now.block_dim)
#define gridDim (simt::core().now.grid_dim)
#define warpSize 32

// ---- synchronisation; macros, for the line numbers ----
#ifdef VGPU_MUTATE_LINE
// A test leaves out the barrier at one place of a source, or stops the kernel when it gets there.
namespace simt {
constexpr bool is_mutated(const char* file, int line) {
  const char* wanted = VGPU_MUTATE_FILE;
  while (*file != 0 && *file == *wanted) ++file, ++wanted;
  return *file == *wanted && line == VGPU_MUTATE_LINE;
}
inline void mutant() {
  if (VGPU_MUTATE_STOP) __builtin_trap();
}
}  // namespace simt
#define SIMT_BARRIER(call) \
  (simt::is_mutated(__FILE_NAME__, __LINE__) ? simt::mutant() : (void)(call))
#else
#define SIMT_BARRIER(call) ((void)(call))
#endif
#define __syncthreads() SIMT_BARRIER(simt::core().barrier(__LINE__))
#define __syncwarp(...) \
  SIMT_BARRIER(         \
      simt::core().collective(simt::Op::kSync, simt::warp_mask(__VA_ARGS__), 0, 0, __LINE__))
namespace simt {
template <class T>
inline T shfl(uint32_t m, T v, int s, int line, int width = 32) {
  return shuffle(m, v, from_lane(s, width), line);
}
template <class T>
inline T shfl_xor(uint32_t m, T v, int x, int line, int width = 32) {
  return shuffle(m, v, xor_lane(x, width), line);
}
template <class T>
inline T shfl_up(uint32_t m, T v, unsigned d, int line, int width = 32) {
  return shuffle(m, v, up(int(d), width), line);
}
template <class T>
inline T shfl_down(uint32_t m, T v, unsigned d, int line, int width = 32) {
  return shuffle(m, v, down(int(d), width), line);
}
// Puts the line before an optional width.
#define SIMT_SHFL(name, m, v, s, ...) simt::name(m, v, s, __LINE__ __VA_OPT__(, ) __VA_ARGS__)
}  // namespace simt
#define __shfl_sync(m, v, ...) SIMT_SHFL(shfl, m, v, __VA_ARGS__)
#define __shfl_xor_sync(m, v, ...) SIMT_SHFL(shfl_xor, m, v, __VA_ARGS__)
#define __shfl_up_sync(m, v, ...) SIMT_SHFL(shfl_up, m, v, __VA_ARGS__)
#define __shfl_down_sync(m, v, ...) SIMT_SHFL(shfl_down, m, v, __VA_ARGS__)
#define __ballot_sync(m, p) simt::vote(m, (p) ? true : false, __LINE__)
#define __any_sync(m, p) (simt::vote(m, (p) ? true : false, __LINE__) != 0)
#define __all_sync(m, p) (simt::vote(m, (p) ? false : true, __LINE__) == 0)
inline void __threadfence() {
  simt::core().fence();
}
inline void __threadfence_block() {
  simt::core().fence();
}
inline void __threadfence_system() {
  simt::core().fence();
}
inline void __nanosleep(unsigned) {
  simt::core().yield();
}
#define __trap() simt::core().fail("trap", __LINE__)
#undef assert
#define assert(condition) \
  ((condition) ? void() : simt::core().fail("assertion failed: " #condition, __LINE__))

// ---- atomics ----
namespace simt {
template <class T, class F>
SIMT_PLAIN T atomic(T* p, F next) {
  core().preempt();
  touch(p, sizeof(T), kAtomic);
  const T old = *p;
  *p = next(old);
  return old;
}
}  // namespace simt
#define SIMT_ATOMIC(name, expression)                             \
  template <class T>                                              \
  inline T name(T* p, simt::Same<T> v) {                          \
    return simt::atomic(p, [v](T old) { return T(expression); }); \
  }
namespace simt {
template <class T>
struct SameType {
  using type = T;
};
template <class T>
using Same = typename SameType<T>::type;
}  // namespace simt
SIMT_ATOMIC(atomicAdd, old + v)
SIMT_ATOMIC(atomicSub, old - v)
SIMT_ATOMIC(atomicMax, old < v ? v : old)
SIMT_ATOMIC(atomicMin, v < old ? v : old)
SIMT_ATOMIC(atomicExch, ((void)old, v))
SIMT_ATOMIC(atomicAnd, old& v)
SIMT_ATOMIC(atomicOr, old | v)
SIMT_ATOMIC(atomicXor, old ^ v)
SIMT_ATOMIC(atomicInc, old >= v ? T(0) : old + 1)
SIMT_ATOMIC(atomicDec, old == 0 || old > v ? v : old - 1)
#undef SIMT_ATOMIC
template <class T>
inline T atomicCAS(T* p, simt::Same<T> compare, simt::Same<T> v) {
  return simt::atomic(p, [=](T old) { return old == compare ? v : old; });
}

// ---- loads and stores with cache hints ----
#define SIMT_LOAD(name)       \
  template <class T>          \
  inline T name(const T* p) { \
    return *p;                \
  }
SIMT_LOAD(__ldg)
SIMT_LOAD(__ldcg)
SIMT_LOAD(__ldca)
SIMT_LOAD(__ldcs)
SIMT_LOAD(__ldlu)
SIMT_LOAD(__ldcv)
#undef SIMT_LOAD
#define SIMT_STORE(name)                    \
  template <class T>                        \
  inline void name(T* p, simt::Same<T> v) { \
    *p = v;                                 \
  }
SIMT_STORE(__stcg)
SIMT_STORE(__stcs)
SIMT_STORE(__stwb)
SIMT_STORE(__stwt)
#undef SIMT_STORE

// ---- bits and arithmetic ----
inline float __uint_as_float(unsigned v) {
  return __builtin_bit_cast(float, v);
}
inline float __int_as_float(int v) {
  return __builtin_bit_cast(float, v);
}
inline unsigned __float_as_uint(float v) {
  return __builtin_bit_cast(unsigned, v);
}
inline int __float_as_int(float v) {
  return __builtin_bit_cast(int, v);
}
inline long long __double_as_longlong(double v) {
  return __builtin_bit_cast(long long, v);
}
inline double __longlong_as_double(long long v) {
  return __builtin_bit_cast(double, v);
}
inline int __popc(unsigned v) {
  return __builtin_popcount(v);
}
inline int __popcll(unsigned long long v) {
  return __builtin_popcountll(v);
}
inline int __clz(int v) {
  return v ? __builtin_clz(unsigned(v)) : 32;
}
inline int __clzll(long long v) {
  return v ? __builtin_clzll(static_cast<unsigned long long>(v)) : 64;
}
inline int __ffs(int v) {
  return __builtin_ffs(v);
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return unsigned(uint64_t(a) * b >> 32);
}
inline int __mulhi(int a, int b) {
  return int(int64_t(a) * b >> 32);
}
inline unsigned __brev(unsigned v) {
  unsigned r = 0;
  for (int i = 0; i < 32; ++i) r |= (v >> i & 1) << (31 - i);
  return r;
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned s) {
  const uint64_t both = uint64_t(y) << 32 | x;
  unsigned r = 0;
  for (int i = 0; i < 4; ++i) r |= unsigned(both >> ((s >> (4 * i) & 7) * 8) & 0xff) << (8 * i);
  return r;
}
#define SIMT_MINMAX(T)     \
  inline T min(T a, T b) { \
    return b < a ? b : a;  \
  }                        \
  inline T max(T a, T b) { \
    return a < b ? b : a;  \
  }
SIMT_MINMAX(int)
SIMT_MINMAX(unsigned)
SIMT_MINMAX(long)
SIMT_MINMAX(unsigned long)
SIMT_MINMAX(long long)
SIMT_MINMAX(unsigned long long)
#undef SIMT_MINMAX
inline float min(float a, float b) {
  return fminf(a, b);
}
inline float max(float a, float b) {
  return fmaxf(a, b);
}
inline double min(double a, double b) {
  return fmin(a, b);
}
inline double max(double a, double b) {
  return fmax(a, b);
}
inline float rsqrtf(float v) {
  return 1.0f / sqrtf(v);
}
inline double rsqrt(double v) {
  return 1.0 / sqrt(v);
}
inline float __frsqrt_rn(float v) {
  return float(1.0 / sqrt(double(v)));
}
inline float __fsqrt_rn(float v) {
  return sqrtf(v);
}
inline float __frcp_rn(float v) {
  return 1.0f / v;
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline float __fdiv_rn(float a, float b) {
  return a / b;
}
// Rounded on their own, never contracted into a fused multiply-add.
inline float __fadd_rn(float a, float b) {
  volatile float r = a + b;
  return r;
}
inline float __fsub_rn(float a, float b) {
  volatile float r = a - b;
  return r;
}
inline float __fmul_rn(float a, float b) {
  volatile float r = a * b;
  return r;
}
inline float __fmaf_rn(float a, float b, float c) {
  return fmaf(a, b, c);
}
inline float __saturatef(float v) {
  return v > 1.0f ? 1.0f : v > 0.0f ? v : 0.0f;
}
inline float __expf(float v) {
  return expf(v);
}
inline float __exp10f(float v) {
  return exp10f(v);
}
inline float __logf(float v) {
  return logf(v);
}
inline float __log2f(float v) {
  return log2f(v);
}
inline float __log10f(float v) {
  return log10f(v);
}
inline float __sinf(float v) {
  return sinf(v);
}
inline float __cosf(float v) {
  return cosf(v);
}
inline float __tanhf(float v) {
  return tanhf(v);
}
inline float __powf(float a, float b) {
  return powf(a, b);
}
inline int __float2int_rn(float v) {
  return int(rintf(v));
}
inline int __float2int_rz(float v) {
  return int(v);
}
inline int __float2int_rd(float v) {
  return int(floorf(v));
}
inline int __float2int_ru(float v) {
  return int(ceilf(v));
}
inline float __int2float_rn(int v) {
  return float(v);
}
inline float __uint2float_rn(unsigned v) {
  return float(v);
}
inline float __double2float_rn(double v) {
  return float(v);
}
