// Finds data races within a launch: two accesses to a byte, at least one a write, by threads that
// nothing orders. Runs on images compiled with instrumented accesses; deterministic for a seed.
//
// Order between threads comes from: __syncthreads (the whole block), __syncwarp (its lanes; not
// shuffles and votes, which order no memory), and fence - atomic - atomic - fence across blocks. A
// fence before a barrier counts for the thread that does the atomic after it, the usual idiom of
// split reductions. Atomics do not race with each other.
//
// Never reports ordered accesses. May miss: only the last write and two last readers of a byte are
// remembered.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "tests/vgpu/image.h"

namespace simt {

struct Machine;
struct Block;

/// What somebody knows to have happened: whole blocks up to a barrier epoch, threads up to a time.
struct Knowledge {
  std::map<uint32_t, uint32_t> epochs;  // block -> accesses of earlier epochs are known
  std::map<uint64_t, uint32_t> times;   // thread -> accesses up to this time are known
  void merge(const Knowledge& other);
};
using KnowledgeRef = std::shared_ptr<const Knowledge>;

struct RaceThread {
  uint32_t time = 1;
  uint32_t seen[32] = {};  // times of the warp's lanes at the last __syncwarp together
  KnowledgeRef acquired, pending, released;
};
struct RaceBlock {
  uint32_t epoch = 0;
  std::vector<RaceThread> threads;
};

class Race {
 public:
  explicit Race(Machine& machine);
  void start_block(Block* block);
  void block_barrier(Block& block);
  void warp_barrier(Block& block, uint32_t warp, uint32_t mask);
  void fence();
  /// `of`: the block whose shared memory it is, if not the running one's.
  void access(const void* at, uint32_t bytes, uint32_t kind, const void* pc,
              const Block* of = nullptr);
  void release(const void* at);  // the running thread publishes what it knows at `at`
  void acquire(const void* at);

 private:
  struct Event {
    uint64_t thread = ~uint64_t(0);  // block << 32 | thread
    uint32_t epoch = 0, time = 0;
    const void* pc = nullptr;
    bool atomic = false;
    bool none() const { return thread == ~uint64_t(0); }
  };
  struct Cell {
    Event write, read, earlier_read;
  };
  static constexpr uintptr_t kChunk = 64;
  using Chunk = std::unique_ptr<Cell[]>;

  Cell& cell(uintptr_t at);
  bool ordered(const Event& earlier) const;
  void check(const Event& earlier, const char* earlier_kind, const char* kind, const void* at,
             const void* pc);
  RaceThread& self() const;
  Knowledge own() const;

  Machine& machine_;
  std::unordered_map<uintptr_t, Chunk> cells_;
  std::unordered_map<uintptr_t, KnowledgeRef> published_;
};

}  // namespace simt
