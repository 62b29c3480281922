// The virtual GPU's half of the kernels' device header (kernels/device/mg/device.cuh): the same
// names as there, on top of the emulator.
#pragma once

#include "simt.h"

namespace mg {

struct alignas(2) f16 {
  unsigned short bits;
};
struct alignas(2) bf16 {
  unsigned short bits;
};

inline void pdl_wait() {
  simt::grid_wait();
}
inline void pdl_launch() {
  simt::grid_launch();
}

inline float to_float(float v) {
  return v;
}
inline float to_float(bf16 v) {
  return simt::bf16_to_float(v.bits);
}
inline float to_float(f16 v) {
  return simt::half_to_float(v.bits);
}
inline bf16 float_to_bf16(float v) {
  return {simt::float_to_bf16(v)};
}
inline f16 float_to_f16(float v) {
  return {simt::float_to_half(v)};
}

inline uint4 load_stream(const uint4* p) {
  return *p;
}
template <class T>
inline T load_early(const T* p) {
  return *p;
}
inline float start_loads() {
  return 0;
}
template <class T>
inline T load_coherent(const T* p) {
  return *p;
}

inline uint4 load_shared(const void* p) {
  return *static_cast<const uint4*>(p);
}
inline void barrier_init(unsigned long long* b, int arrivals) {
  simt::mbarrier_init(reinterpret_cast<uint64_t*>(b), uint32_t(arrivals));
}
inline void barrier_fence() {}
inline void barrier_arrive(unsigned long long* b) {
  simt::mbarrier_arrive(reinterpret_cast<uint64_t*>(b));
}
constexpr int kWarpArrivals = 1;
inline void barrier_arrive_warp(unsigned long long* b) {
  if (static_cast<int>(threadIdx.x) % 32 < kWarpArrivals) barrier_arrive(b);
}
inline void barrier_expect(unsigned long long* b, int bytes) {
  simt::mbarrier_arrive_expect_tx(reinterpret_cast<uint64_t*>(b), uint32_t(bytes));
}
inline void barrier_wait(unsigned long long* b, int phase) {
  simt::mbarrier_wait(reinterpret_cast<uint64_t*>(b), uint32_t(phase));
}
inline void bulk_copy(void* shared, const void* global, int bytes, unsigned long long* b) {
  simt::bulk_copy(shared, global, uint32_t(bytes), reinterpret_cast<uint64_t*>(b));
}
template <int SIZE>
inline void cluster_arrive() {
  simt::cluster_arrive(SIZE);
}
template <int SIZE>
inline void cluster_started() {
  simt::cluster_arrive(SIZE);
}
inline void cluster_wait() {
  simt::cluster_wait();
}
template <int SIZE>
inline void cluster_store(float* shared, int rank, float value) {
  simt::cluster_store(shared, uint32_t(rank), uint32_t(SIZE), value);
}
inline void prefetch_line(const void* global) {
  simt::prefetch_line(global);
}
inline void copy_async(void* shared, const void* global) {
  simt::cp_async(shared, global, 16);
}
inline void copy_async_commit() {
  simt::cp_async_commit();
}
template <int LEFT>
inline void copy_async_wait() {
  simt::cp_async_wait(LEFT);
}

inline void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const bf16*,
                int line = __builtin_LINE()) {
  simt::mma_m16n8k16_bf16(d, a, b, d, line);
}
inline void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const f16*,
                int line = __builtin_LINE()) {
  simt::mma_m16n8k16_f16(d, a, b, d, line);
}

}  // namespace mg
