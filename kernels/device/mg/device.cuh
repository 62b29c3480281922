// What every kernel includes first. Under NVRTC and nvcc: names for the few things that have no
// portable spelling. For architecture `virtual` the same names come from the emulator.
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)

#define KERNEL_EXPORT(fn)

namespace mg {

/// Storage types of the halves; arithmetic is done in float.
struct alignas(2) f16 {
  unsigned short bits;
};
struct alignas(2) bf16 {
  unsigned short bits;
};

// --- programmatic dependent launch ---
/// Blocks until every launch this one depends on has finished and its writes are visible.
__device__ __forceinline__ void pdl_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
/// Lets dependents start as soon as every block has said so (or exited).
__device__ __forceinline__ void pdl_launch() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// --- conversions, round to nearest even; NaN stays NaN ---
__device__ __forceinline__ float to_float(float v) {
  return v;
}
__device__ __forceinline__ float to_float(bf16 v) {
  return __uint_as_float(static_cast<unsigned>(v.bits) << 16);
}
__device__ __forceinline__ float to_float(f16 v) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v.bits));
  return f;
}
__device__ __forceinline__ bf16 float_to_bf16(float v) {
  bf16 r;
#if __CUDA_ARCH__ >= 900
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r.bits) : "f"(v));
#else
  const unsigned u = __float_as_uint(v);
  r.bits = static_cast<unsigned short>(v != v ? 0x7fffu : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
#endif
  return r;
}
__device__ __forceinline__ f16 float_to_f16(float v) {
  f16 r;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r.bits) : "f"(v));
  return r;
}

// --- memory ---
/// Read-only 16-byte load that doesn't displace what L1 holds: for weights read once.
__device__ __forceinline__ uint4 load_stream(const uint4* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}
/// Loads that stay where the source has them among their like and `mma`: the compiler would rather
/// save registers and wait once more.
__device__ __forceinline__ uint4 load_early(const uint4* p) {
  uint4 v;
  asm volatile("ld.global.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}
__device__ __forceinline__ uint2 load_early(const uint2* p) {
  uint2 v;
  asm volatile("ld.global.v2.u32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
  return v;
}
__device__ __forceinline__ unsigned load_early(const unsigned* p) {
  unsigned v;
  asm volatile("ld.global.u32 %0, [%1];" : "=r"(v) : "l"(p));
  return v;
}
/// Zero, once what the warp has loaded before is under way. The compiler would rather save
/// registers and wait for memory twice; it puts loads off until after arithmetic, but not until
/// after a barrier that the arithmetic needs the result of. compute-sanitizer's racecheck counts it
/// among the block's, of which warps that loop then have different numbers; without it in its
/// sight.
__device__ __forceinline__ float start_loads() {
  unsigned count;
#ifdef MG_RACECHECK
  asm volatile("mov.u32 %0, 0;" : "=r"(count) : : "memory");
#else
  asm volatile(
      "{\n"
      ".reg .pred none;\n"
      "setp.ne.u32 none, 0, 0;\n"
      "bar.red.popc.u32 %0, %1, 32, none;\n"
      "}"
      : "=r"(count)
      : "r"(threadIdx.x / 32 + 1)
      : "memory");
#endif
  return __uint_as_float(count);
}
/// Load through L2: for what other blocks or launches have written.
template <class T>
__device__ __forceinline__ T load_coherent(const T* p) {
  return __ldcg(p);
}

__device__ __forceinline__ unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

// --- clusters of SIZE blocks along x, which see each other's shared memory ---
/// Tells the cluster's other blocks what this thread has done; all threads of all blocks arrive.
template <int SIZE>
__device__ __forceinline__ void cluster_arrive() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
#endif
}
/// Only that this thread runs: nothing it has done need be visible.
template <int SIZE>
__device__ __forceinline__ void cluster_started() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.relaxed;");
#endif
}
__device__ __forceinline__ void cluster_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#endif
}
/// Writes where `shared` is in the shared memory of the cluster's block `rank`.
template <int SIZE>
__device__ __forceinline__ void cluster_store(float* shared, int rank, float value) {
#if __CUDA_ARCH__ >= 900
  unsigned to;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(to) : "r"(shared_address(shared)), "r"(rank));
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(to), "f"(value) : "memory");
#endif
}

// --- asynchronous copies into shared memory ---
/// A load from shared memory that stays where the source has it among its like and `mma`: several
/// at once wait as long as one, but the compiler would rather save registers.
__device__ __forceinline__ uint4 load_shared(const void* p) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(shared_address(p)));
  return v;
}
/// An mbarrier that `arrivals` arrivals complete.
__device__ __forceinline__ void barrier_init(unsigned long long* b, int arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals)
               : "memory");
}
/// Makes initialised barriers known to the copy engine.
__device__ __forceinline__ void barrier_fence() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
__device__ __forceinline__ void barrier_arrive(unsigned long long* b) {
  asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}
/// Arrivals of a warp at a barrier: one, after its lanes have met. compute-sanitizer's racecheck
/// doesn't see that a lane arrives for the others, so all do when it looks.
#ifdef MG_RACECHECK
constexpr int kWarpArrivals = 32;
#else
constexpr int kWarpArrivals = 1;
#endif
__device__ __forceinline__ void barrier_arrive_warp(unsigned long long* b) {
  if (static_cast<int>(threadIdx.x) % 32 < kWarpArrivals) barrier_arrive(b);
}
/// Arrives, and makes the phase wait for `bytes` of copies too.
__device__ __forceinline__ void barrier_expect(unsigned long long* b, int bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)),
               "r"(bytes)
               : "memory");
#endif
}
__device__ __forceinline__ void barrier_wait(unsigned long long* b, int phase) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again%=:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra out%=;\n"
      "bra again%=;\n"
      "out%=:\n"
      "}" ::"r"(shared_address(b)),
      "r"(phase)
      : "memory");
#endif
}
/// Copies `bytes` (a multiple of 16) by the copy engine; data that is read once leaves L2 first.
__device__ __forceinline__ void bulk_copy(void* shared, const void* global, int bytes,
                                          unsigned long long* b) {
#if __CUDA_ARCH__ >= 900
  unsigned long long policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], "
      "[%1], "
      "%2, [%3], %4;" ::"r"(shared_address(shared)),
      "l"(global), "r"(bytes), "r"(shared_address(b)), "l"(policy)
      : "memory");
#endif
}
/// Starts bringing the line of an address into L2.
__device__ __forceinline__ void prefetch_line(const void* global) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(global));
}
/// 16 bytes by this thread, without passing through registers.
__device__ __forceinline__ void copy_async(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)),
               "l"(global)
               : "memory");
}
__device__ __forceinline__ void copy_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int LEFT>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

// --- tensor cores: D = A B + D for m16n8k16, fragments as the PTX manual lays them out ---
__device__ __forceinline__ void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                    const bf16*) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                    const f16*) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace mg

#else
#include "mg_virtual.h"  // from the emulator's include path
#endif

namespace mg {

template <class T>
__device__ __forceinline__ T from_float(float v);
template <>
__device__ __forceinline__ float from_float<float>(float v) {
  return v;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float v) {
  return float_to_bf16(v);
}
template <>
__device__ __forceinline__ f16 from_float<f16>(float v) {
  return float_to_f16(v);
}

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) v += __shfl_xor_sync(0xffffffffu, v, d);
  return v;
}
__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, d));
  return v;
}

/// 16 bytes as elements: unpack to float, compute, pack.
template <class T>
struct Vec {
  static constexpr int kWidth = 16 / static_cast<int>(sizeof(T));
};
__device__ __forceinline__ void unpack(const uint4& q, float (&v)[4], const float*) {
  v[0] = __uint_as_float(q.x);
  v[1] = __uint_as_float(q.y);
  v[2] = __uint_as_float(q.z);
  v[3] = __uint_as_float(q.w);
}
__device__ __forceinline__ void unpack(const uint4& q, float (&v)[8], const bf16*) {
  const unsigned w[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    v[2 * i] = __uint_as_float(w[i] << 16);
    v[2 * i + 1] = __uint_as_float(w[i] & 0xffff0000u);
  }
}
__device__ __forceinline__ void unpack(const uint4& q, float (&v)[8], const f16*) {
  const unsigned w[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    f16 lo;
    f16 hi;
    lo.bits = static_cast<unsigned short>(w[i]);
    hi.bits = static_cast<unsigned short>(w[i] >> 16);
    v[2 * i] = to_float(lo);
    v[2 * i + 1] = to_float(hi);
  }
}
__device__ __forceinline__ uint4 pack(const float (&v)[4], const float*) {
  return make_uint4(__float_as_uint(v[0]), __float_as_uint(v[1]), __float_as_uint(v[2]),
                    __float_as_uint(v[3]));
}
/// Two halves, `low` first.
template <class T>
__device__ __forceinline__ unsigned pack_pair(float low, float high) {
  return from_float<T>(low).bits | static_cast<unsigned>(from_float<T>(high).bits) << 16;
}
template <class T>
__device__ __forceinline__ uint4 pack(const float (&v)[8], const T*) {
  unsigned w[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) w[i] = pack_pair<T>(v[2 * i], v[2 * i + 1]);
  return make_uint4(w[0], w[1], w[2], w[3]);
}

}  // namespace mg
