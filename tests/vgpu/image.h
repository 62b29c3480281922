// Plain interface between a kernel image (a host shared object) and the virtual GPU that runs it.
// The image holds kernels and thin wrappers; all that has state lives in the device's `Core`.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace simt {

constexpr uint32_t kAbi = 4;
constexpr uint32_t kMaxThreads = 1024;
constexpr uint32_t kSmemMax = 232448;  ///< most dynamic shared memory a block can have
constexpr uint32_t kCanary = 256;      ///< checked bytes behind it

struct Dim {
  uint32_t x = 1, y = 1, z = 1;
};
struct Param {
  uint32_t offset, size;  ///< device-side layout, as cuKernelGetParamInfo reports it
};
struct Kernel {
  const char* name;
  void (*call)(void** params);
  uint32_t param_count;
  const Param* params;
};

/// What the thread that has the turn sees of itself.
struct Now {
  Dim thread, block, block_dim, grid_dim;
  uint32_t lane, warp;
};

enum class Op : uint8_t { kSync, kShuffle, kVote, kGather };
enum Access : uint32_t { kRead = 0, kWrite = 1, kAtomic = 2 };

/// Services of the device; one table for all images.
struct Core {
  Now now;
  bool checks_races;  ///< accesses are to be reported
  void (*barrier)(int line);
  /// Meets the lanes of `mask`; the value of lane `source` (shuffle) or the votes (vote).
  uint64_t (*collective)(Op op, uint32_t mask, uint64_t value, int source, int line);
  /// Meets all 32 lanes and gives each a pointer to all lanes' `bytes` bytes, lane by lane.
  const void* (*gather)(const void* own, uint32_t bytes, int line);
  void (*preempt)();  ///< a place where hardware might run another thread first
  void (*yield)();    ///< this thread waits for another one to make progress
  [[noreturn]] void (*fail)(const char* what, int line);
  void (*access)(const void* at, uint32_t bytes, uint32_t kind, const void* pc);
  void (*fence)();
  void (*grid_wait)();  ///< griddepcontrol.wait
  void (*grid_launch)();
  void (*copy_async)(void* to, const void* from, uint32_t bytes, uint32_t valid_bytes);
  void (*copy_commit)();
  void (*copy_wait)(uint32_t groups_left);
  void (*bulk_copy)(void* to, const void* from, uint32_t bytes, uint64_t* barrier);
  void (*barrier_init)(uint64_t* barrier, uint32_t count);
  void (*barrier_arrive)(uint64_t* barrier, uint32_t expect_bytes);
  bool (*barrier_test)(uint64_t* barrier, uint32_t phase);
  /// Clusters of `size` blocks along x. Arriving doesn't wait.
  void (*cluster_arrive)(uint32_t size);
  void (*cluster_wait)();
  /// Writes to `to`, an address in the own block's shared memory, of block `rank` of the cluster.
  void (*cluster_store)(void* to, uint32_t rank, uint32_t size, const void* from, uint32_t bytes);
};

struct Image {
  uint32_t abi, kernel_count;
  const Kernel* kernels;
  Core** core;                         ///< filled in by the device when it loads the image
  unsigned char* (*dynamic_shared)();  ///< of the calling OS thread
  bool instrumented;                   ///< reports its accesses
};

}  // namespace simt
