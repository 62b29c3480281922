// Blocks as they start, and clusters of them: their barrier, and writes into each other's shared
// memory.
#include <cstring>

#include "tests/vgpu/simt/machine.h"
#include "tests/vgpu/simt/race.h"

namespace simt {
namespace {

uint32_t first_block(uint32_t size) {
  const Block& b = *machine()->block;
  if (size == 0 || machine()->job.grid.x % size)
    stop("a cluster of %u doesn't divide the grid", size);
  return b.index - b.idx.x % size;
}

/// All blocks of a cluster run at the same time.
Cluster& own_cluster(uint32_t size) {
  const uint32_t first = first_block(size);
  Cluster& c = machine()->clusters[first];
  if (c.size == 0) {
    c.size = size;
    for (uint32_t r = 0; r < size; ++r) {
      if (!machine()->started[first + r]) start_block(first + r);
    }
  }
  if (c.size != size) stop("clusters of %u and of %u blocks", c.size, size);
  return c;
}

Block* resident(uint32_t index) {
  for (const auto& b : machine()->resident) {
    if (b->index == index) return b.get();
  }
  return nullptr;
}

}  // namespace

void make_ready(Block* b, Thread* t) {
  t->state = State::kReady;
  b->ready.push_back(t);
}

void start_block(uint32_t index) {
  Machine& m = *machine();
  m.started[index] = true;
  const Dim g = m.job.grid, d = m.job.block;
  Block& b = *m.resident.emplace_back(std::make_unique<Block>());
  b.index = index;
  b.idx = {index % g.x, index / g.x % g.y, index / g.x / g.y};
  b.live = d.x * d.y * d.z;
  b.threads.resize(b.live);
  for (uint32_t i = b.live; i--;) {
    Thread& t = b.threads[i];
    t.tid = {i % d.x, i / d.x % d.y, i / d.x / d.y};
    t.index = i;
    b.ready.push_back(&t);
  }
  // Rubbish to start with: all ones (NaN in each float format), or zero for code that tests flags.
  const char rubbish = m.job.seed && pick(2) ? 0 : -1;
  b.shared.assign(m.shared[0].size + m.shared[1].size + m.shared[2].size, rubbish);
  if (m.race) m.race->start_block(&b);
}

void cluster_arrive(uint32_t size) {
  Cluster& c = own_cluster(size);
  Thread* const t = machine()->self;
  if (t->cluster_phase) stop("a thread arrives twice at its cluster's barrier");
  t->cluster_phase = c.phase + 1;
  if (machine()->race) machine()->race->release(&c);
  const Dim d = machine()->job.block;
  if (++c.arrived < size * d.x * d.y * d.z) return;
  c.arrived = 0;
  ++c.phase;
  for (const auto& [block, thread] : c.waiting) make_ready(block, thread);
  c.waiting.clear();
}

void cluster_wait() {
  Thread* const t = machine()->self;
  if (!t->cluster_phase) stop("a thread waits for its cluster without having arrived");
  Cluster* mine = nullptr;
  for (auto& [first, c] : machine()->clusters) {
    const uint32_t index = machine()->block->index;
    if (index >= first && index < first + c.size) mine = &c;
  }
  if (mine->phase < t->cluster_phase) {
    t->state = State::kAtCluster;
    mine->waiting.emplace_back(machine()->block, t);
    suspend();
  }
  t->cluster_phase = 0;
  if (machine()->race) machine()->race->acquire(mine);
}

void cluster_store(void* to, uint32_t rank, uint32_t size, const void* from, uint32_t bytes) {
  const uint32_t first = first_block(size);
  Block* const target = rank < size ? resident(first + rank) : nullptr;
  if (!target) stop("a write into a block of the cluster that doesn't run");
  if (machine()->race) machine()->race->access(to, bytes, kWrite, nullptr, target);
  if (target == machine()->block) {
    std::memcpy(to, from, bytes);
    return;
  }
  std::size_t before = 0;
  for (const Span& s : machine()->shared) {
    char* const at = static_cast<char*>(to);
    if (at >= s.at && at + bytes <= s.at + s.size) {
      std::memcpy(target->shared.data() + before + (at - s.at), from, bytes);
      return;
    }
    before += s.size;
  }
  stop("a write into a cluster's block that is not to shared memory");
}

}  // namespace simt
