// Asynchronous copies: performed as late as the program allows or, drawn by seed, at once, so that
// a missing wait shows whichever way the program is wrong.
#include <algorithm>
#include <cstring>

#include "tests/vgpu/simt/machine.h"
#include "tests/vgpu/simt/race.h"

namespace simt {
namespace {

void perform(const AsyncCopy& c) {
  if (machine()->race) {
    machine()->race->access(c.from, c.valid_bytes, kRead, nullptr);
    machine()->race->access(c.to, c.bytes, kWrite, nullptr);
  }
  std::memcpy(c.to, c.from, c.valid_bytes);
  std::memset(static_cast<char*>(c.to) + c.valid_bytes, 0, c.bytes - c.valid_bytes);
}

// Fields of an emulated mbarrier: pending arrivals, arrivals per phase, pending bytes, phase.
struct Barrier {
  uint64_t pending : 12, count : 12, bytes : 38, phase : 1, set : 1;
};
static_assert(sizeof(Barrier) == sizeof(uint64_t));

Barrier load(const uint64_t* at) {
  Barrier b;
  std::memcpy(&b, at, sizeof b);
  if (!b.set) stop("use of an mbarrier that was not initialised");
  return b;
}
void store(uint64_t* at, Barrier b) {
  if (b.pending == 0 && b.bytes == 0) {  // the phase is complete
    b.phase ^= 1;
    b.pending = b.count;
  }
  std::memcpy(at, &b, sizeof b);
}

/// Brings copy `i` of those that are under way.
void perform_bulk(Block* block, size_t i) {
  const BulkCopy c = block->bulk[i];
  block->bulk.erase(block->bulk.begin() + static_cast<std::ptrdiff_t>(i));
  std::memcpy(c.to, c.from, c.bytes);
  Barrier b = load(c.barrier);
  if (b.bytes < c.bytes) stop("a bulk copy brought more bytes than its mbarrier expects");
  b.bytes -= c.bytes;
  store(c.barrier, b);
}

}  // namespace

void copy_async(void* to, const void* from, uint32_t bytes, uint32_t valid_bytes) {
  Thread* const t = machine()->self;
  if (bytes != 4 && bytes != 8 && bytes != 16)
    stop("asynchronous copy of neither 4, 8 nor 16 bytes");
  if (reinterpret_cast<uintptr_t>(to) % bytes || reinterpret_cast<uintptr_t>(from) % bytes) {
    stop("misaligned asynchronous copy");
  }
  const AsyncCopy copy{to, from, bytes, std::min(valid_bytes, bytes), t->copy_group};
  if (machine()->job.seed && pick(2)) return perform(copy);
  t->copies.push_back(copy);
}

void copy_commit() {
  ++machine()->self->copy_group;
}

void copy_wait(uint32_t groups_left) {
  Thread* const t = machine()->self;
  const uint32_t now = t->copy_group;
  std::erase_if(t->copies, [&](const AsyncCopy& c) {
    const bool done = groups_left == kAllCopies || uint64_t(c.group) + groups_left < now;
    if (done) perform(c);
    return done;
  });
}

void bulk_copy(void* to, const void* from, uint32_t bytes, uint64_t* barrier) {
  if (bytes % 16 || reinterpret_cast<uintptr_t>(to) % 16 ||
      reinterpret_cast<uintptr_t>(from) % 16) {
    stop("bulk copy whose address or size is no multiple of 16");
  }
  load(barrier);
  Block* const block = machine()->block;
  block->bulk.push_back({to, from, bytes, barrier});
  if (machine()->job.seed && pick(2)) perform_bulk(block, block->bulk.size() - 1);
}

void barrier_init(uint64_t* barrier, uint32_t count) {
  if (count == 0 || count >= 1u << 12) stop("mbarrier with an impossible count");
  Barrier b{};
  b.pending = b.count = count;
  b.set = 1;
  std::memcpy(barrier, &b, sizeof b);
}

void barrier_arrive(uint64_t* barrier, uint32_t expect_bytes) {
  Barrier b = load(barrier);
  if (b.pending == 0) stop("more arrivals at an mbarrier than it was initialised for");
  b.bytes += expect_bytes;
  b.pending -= 1;
  if (machine()->race) machine()->race->release(barrier);
  store(barrier, b);
}

bool barrier_test(uint64_t* barrier, uint32_t phase) {
  const Barrier b = load(barrier);
  if (b.phase == (phase & 1)) return false;
  if (machine()->race) machine()->race->acquire(barrier);
  return true;
}

bool progress_bulk(Block* block) {
  if (block->bulk.empty()) return false;
  perform_bulk(block, machine()->job.seed ? pick(block->bulk.size()) : 0);
  return true;
}

}  // namespace simt
