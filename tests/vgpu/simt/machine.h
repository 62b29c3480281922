// The SIMT emulator: runs one kernel launch, every thread a fiber, in an order drawn from a seed.
//
// A few blocks are resident at a time and take turns, as on a multiprocessor, so that blocks see
// each other's half-finished work. Threads change at barriers, warp operations and atomics.
#pragma once

#include <setjmp.h>

#include <boost/context/detail/fcontext.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tests/vgpu/image.h"

namespace simt {

struct Job {
  const Kernel* kernel;
  const Image* image;
  Dim grid, block;
  uint32_t dynamic_shared;
  void** params;
  uint64_t seed;  // 0: a fixed order
};

enum class Outcome { kFine, kMisuse, kMisaligned, kIllegalAddress };
/// Runs the job to its end; `error` describes what the kernel did wrong.
Outcome run(const Job& job, std::string* error);
Core* core();
std::size_t static_shared_bytes(const Image& image);

// ---- internals, shared by the emulator's files ----

enum class State : uint8_t { kReady, kAtBarrier, kAtWarp, kAtCluster, kDone };

struct AsyncCopy {
  void* to;
  const void* from;
  uint32_t bytes, valid_bytes, group;
};
struct Thread {
  Dim tid;
  uint32_t index = 0;
  State state = State::kReady;
  Op op{};  // the warp operation it has arrived at: kind, mask, operand, lane to read
  int line = 0, source = 0, stack = -1;
  uint32_t mask = 0;
  uint64_t value = 0, result = 0;
  uint32_t copy_group = 0;
  uint32_t gather_half = 0;
  uint32_t cluster_phase = 0;  // the phase that it arrived in, plus one; 0: it has not arrived
  std::vector<AsyncCopy> copies;
  void* fake_stack = nullptr;  // for the address sanitizer
  boost::context::detail::fcontext_t context = nullptr;
};
struct BulkCopy {
  void* to;
  const void* from;
  uint32_t bytes;
  uint64_t* barrier;
};
struct RaceBlock;
struct Block {
  Dim idx;
  uint32_t index = 0;
  std::vector<Thread> threads;
  std::vector<Thread*> ready;
  std::vector<char> shared;  // its shared memory while another block has the turn
  std::vector<char> gather[kMaxThreads / 32];
  std::vector<BulkCopy> bulk;
  uint32_t arrived[kMaxThreads / 32] = {};
  uint32_t live = 0, at_barrier = 0, exited = 0, spins = 0;
  int barrier_line = 0;
  std::shared_ptr<RaceBlock> race;
};
struct Span {
  char* at;
  std::size_t size;
};
class Race;
/// Blocks side by side along x that see each other's shared memory, and their barrier.
struct Cluster {
  uint32_t size = 0, arrived = 0, phase = 0;
  std::vector<std::pair<Block*, Thread*>> waiting;
};

/// State of one launch. Launches nest at one place only: a kernel that started early waits for
/// the kernels that it depends on.
struct Machine {
  Job job{};
  Machine* outer = nullptr;
  char* stacks = nullptr;
  uint64_t rng = 0;
  std::vector<std::unique_ptr<Block>> resident;
  Block* block = nullptr;
  Thread* self = nullptr;
  std::vector<uint32_t> free_stacks;
  std::vector<uint32_t> order;           // of blocks
  std::vector<bool> started;             // by block
  std::map<uint32_t, Cluster> clusters;  // by their first block
  sigjmp_buf fault;
  bool failed = false, wants_grid = false, grid_done = false;
  Outcome outcome = Outcome::kMisuse;  // if failed
  boost::context::detail::fcontext_t scheduler = nullptr;
  const void* scheduler_stack = nullptr;
  std::size_t scheduler_stack_size = 0;
  void* scheduler_fake_stack = nullptr;
  Span shared[3] = {};  // below, in and above the dynamic array
  std::string error;
  std::unique_ptr<Race> race;
};
Machine* machine();
uint32_t pick(std::size_t n);  // seeded number in [0, n)
void suspend();
void report(const char* format, ...) __attribute__((format(printf, 1, 2)));
/// From a thread, which is never resumed: nothing on its stack may own memory.
[[noreturn]] void stop(const char* format, ...) __attribute__((format(printf, 1, 2)));
bool on_fiber_stack(const void* at);

// async.cpp
void copy_async(void* to, const void* from, uint32_t bytes, uint32_t valid_bytes);
void copy_commit();
constexpr uint32_t kAllCopies = ~0u;  // also those of no group yet
void copy_wait(uint32_t groups_left);
void bulk_copy(void* to, const void* from, uint32_t bytes, uint64_t* barrier);
void barrier_init(uint64_t* barrier, uint32_t count);
void barrier_arrive(uint64_t* barrier, uint32_t expect_bytes);
bool barrier_test(uint64_t* barrier, uint32_t phase);
bool progress_bulk(Block* block);

// blocks.cpp
void start_block(uint32_t index);
void make_ready(Block* b, Thread* t);
void cluster_arrive(uint32_t size);
void cluster_wait();
void cluster_store(void* to, uint32_t rank, uint32_t size, const void* from, uint32_t bytes);

}  // namespace simt
