// What a kernel source sees when the host compiler compiles it for architecture `virtual`: CUDA's
// names, on top of the services of the virtual GPU. The same source is compiled for real devices
// by NVRTC, which never sees this file. README.md has the conventions and the compile command.
#pragma once

#if defined(__CUDACC__)
#error "simt.h stands in for CUDA's built-ins; it is not for NVRTC or nvcc"
#endif

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "image.h"

// The image's own code that touches memory on behalf of a kernel must not report twice.
#if defined(__SANITIZE_THREAD__)
#define SIMT_INSTRUMENTED 1
#define SIMT_PLAIN __attribute__((noinline, no_sanitize("thread")))
#else
#define SIMT_INSTRUMENTED 0
#define SIMT_PLAIN inline
#endif

// Storage behind `extern __shared__ T smem[]`, whatever T is: defined in assembly, so that each
// kernel may declare its own element type.
asm(".pushsection .tbss.smem,\"awT\",@nobits\n .balign 1024\n .globl smem\n .hidden smem\n"
    " .type smem,@tls_object\n .size smem, 232704\nsmem: .zero 232704\n .popsection");
extern thread_local unsigned char simt_smem[] __asm__("smem") __attribute__((visibility("hidden")));

namespace simt {
static_assert(kSmemMax + kCanary == 232704);

inline Core* core_slot;
inline Core& core() {
  return *core_slot;
}

constexpr uint32_t warp_mask(uint32_t mask = ~0u) {
  return mask;
}
inline int lane() {
  return int(core().now.lane);
}

SIMT_PLAIN void touch(const void* at, uint32_t bytes, uint32_t kind) {
  if (core().checks_races) core().access(at, bytes, kind, __builtin_return_address(0));
}

template <class T>
inline T shuffle(uint32_t mask, T v, int source, int line) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  memcpy(&bits, &v, sizeof v);
  bits = core().collective(Op::kShuffle, mask, bits, source, line);
  memcpy(&v, &bits, sizeof v);
  return v;
}
inline uint32_t vote(uint32_t mask, bool v, int line) {
  return uint32_t(core().collective(Op::kVote, mask, v, 0, line));
}
inline int up(int delta, int width) {
  const int l = lane();
  return l % width >= delta ? l - delta : l;
}
inline int down(int delta, int width) {
  const int l = lane();
  return l % width + delta < width ? l + delta : l;
}
inline int xor_lane(int mask, int width) {
  const int l = lane(), to = l ^ mask;
  return to / width == l / width ? to : l;
}
inline int from_lane(int source, int width) {
  return lane() / width * width + (source & (width - 1));
}

// ---- programmatic dependent launch ----
inline void grid_wait() {
  core().grid_wait();
}  // griddepcontrol.wait
inline void grid_launch() {
  core().grid_launch();
}  // griddepcontrol.launch_dependents

// ---- asynchronous copies ----
inline void cp_async(void* shared, const void* global, uint32_t bytes) {
  core().copy_async(shared, global, bytes, bytes);
}
inline void cp_async(void* shared, const void* global, uint32_t bytes, uint32_t valid_bytes) {
  core().copy_async(shared, global, bytes, valid_bytes);  // the rest is filled with zeros
}
inline void cp_async_commit() {
  core().copy_commit();
}
inline void cp_async_wait(uint32_t groups_left) {
  core().copy_wait(groups_left);
}
inline void cp_async_wait_all() {
  core().copy_wait(~0u);
}
inline void mbarrier_init(uint64_t* b, uint32_t count) {
  core().barrier_init(b, count);
}
inline void mbarrier_arrive(uint64_t* b) {
  core().barrier_arrive(b, 0);
}
inline void mbarrier_arrive_expect_tx(uint64_t* b, uint32_t bytes) {
  core().barrier_arrive(b, bytes);
}
inline bool mbarrier_try_wait(uint64_t* b, uint32_t phase) {
  if (core().barrier_test(b, phase)) return true;
  core().yield();
  return core().barrier_test(b, phase);
}
inline void mbarrier_wait(uint64_t* b, uint32_t phase) {
  while (!mbarrier_try_wait(b, phase)) {
  }
}
inline void bulk_copy(void* shared, const void* global, uint32_t bytes, uint64_t* b) {
  core().bulk_copy(shared, global, bytes, b);
}

// ---- clusters ----
inline void cluster_arrive(uint32_t size) {
  core().cluster_arrive(size);
}
inline void cluster_wait() {
  core().cluster_wait();
}
template <class T>
inline void cluster_store(T* to, uint32_t rank, uint32_t size, T value) {
  core().cluster_store(to, rank, size, &value, sizeof value);
}

/// Moves nothing, but the memory must be there.
inline void prefetch_line(const void* global) {
  (void)*static_cast<const volatile char*>(global);
}

// ---- kernels of the image ----
struct KernelList {
  Kernel all[64];
  uint32_t count = 0;
};
inline KernelList& kernel_list() {
  static KernelList list;
  return list;
}
template <size_t... I>
struct Indices {};
template <class S>
struct Unpack;
template <size_t... I>
struct Unpack<Indices<I...>> {
  template <auto F, class... A>
  static void call(void** p) {
    F(*static_cast<A*>(p[I])...);
  }
};
template <class T>
struct Bare {
  using type = T;
};
template <class T>
struct Bare<const T> {
  using type = T;
};
template <auto F, class Signature = decltype(F)>
struct Export;
template <auto F, class... A>
struct Export<F, void (*)(A...)> {
  static constexpr size_t kCount = sizeof...(A);
  static inline Param layout[kCount + 1];
  static void call(void** p) {
    Unpack<Indices<__integer_pack(kCount)...>>::template call<F, typename Bare<A>::type...>(p);
  }
  explicit Export(const char* name) {
    const uint32_t size[] = {sizeof(A)..., 0}, align[] = {alignof(A)..., 1};
    uint32_t at = 0;
    for (size_t i = 0; i < kCount; at += size[i++]) {
      at = (at + align[i] - 1) / align[i] * align[i];
      layout[i] = {at, size[i]};
    }
    KernelList& list = kernel_list();
    if (list.count == sizeof list.all / sizeof list.all[0]) __builtin_trap();
    list.all[list.count++] = {name, call, uint32_t(kCount), layout};
  }
};
inline unsigned char* dynamic_shared() {
  return simt_smem;
}
}  // namespace simt

// After each kernel; NVRTC gets an empty definition from the kernels' own header.
#define KERNEL_EXPORT(fn) static const simt::Export<&fn> simt_export_##fn{#fn};

// One source, one image: defined here, not inline.
extern "C" __attribute__((visibility("default"))) const simt::Image* simt_image() {
  static const simt::Image image{
      simt::kAbi,       simt::kernel_list().count, simt::kernel_list().all,
      &simt::core_slot, simt::dynamic_shared,      SIMT_INSTRUMENTED != 0};
  return &image;
}

#include "simt/cuda_names.h"
#include "simt/half.h"
#include "simt/tensor.h"
#if SIMT_INSTRUMENTED
#include "simt/tsan_hooks.h"
#endif
