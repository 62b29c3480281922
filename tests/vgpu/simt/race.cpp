#include "tests/vgpu/simt/race.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "tests/vgpu/simt/machine.h"

namespace simt {
namespace {

uint64_t thread_id(uint32_t block, uint32_t thread) {
  return uint64_t(block) << 32 | thread;
}

void merge_into(KnowledgeRef* target, const KnowledgeRef& more) {
  if (!more || more == *target) return;
  if (!*target) {
    *target = more;
    return;
  }
  auto merged = std::make_shared<Knowledge>(**target);
  merged->merge(*more);
  *target = std::move(merged);
}

// Text on the stack only: the thread that stops with it never returns.
struct Text {
  char at[160];
};

// "image.so+0x1234", for addr2line.
Text code_place(const void* pc) {
  Text text{"an asynchronous copy"};
  Dl_info info{};
  if (!pc || !dladdr(pc, &info) || !info.dli_fname) return text;
  const char* const slash = std::strrchr(info.dli_fname, '/');
  std::snprintf(text.at, sizeof text.at, "%s+%#tx", slash ? slash + 1 : info.dli_fname,
                static_cast<const char*>(pc) - static_cast<const char*>(info.dli_fbase));
  return text;
}

Text place(const Machine& m, const void* at) {
  const auto* const p = static_cast<const char*>(at);
  const char* const low = m.shared[0].at;
  Text text;
  if (p >= low && p < m.shared[2].at + m.shared[2].size) {
    const bool dynamic = p >= m.shared[1].at && p < m.shared[2].at;
    std::snprintf(text.at, sizeof text.at, "%s shared byte %td", dynamic ? "dynamic" : "static",
                  p - (dynamic ? m.shared[1].at : low));
  } else {
    std::snprintf(text.at, sizeof text.at, "global address %p", at);
  }
  return text;
}

}  // namespace

void Knowledge::merge(const Knowledge& other) {
  for (const auto& [block, epoch] : other.epochs) epochs[block] = std::max(epochs[block], epoch);
  for (const auto& [thread, time] : other.times) times[thread] = std::max(times[thread], time);
}

Race::Race(Machine& machine) : machine_(machine) {}

void Race::start_block(Block* block) {
  block->race = std::make_shared<RaceBlock>();
  block->race->threads.resize(block->threads.size());
}

RaceThread& Race::self() const {
  return machine_.block->race->threads[machine_.self->index];
}

Knowledge Race::own() const {
  Knowledge k;
  const Block& b = *machine_.block;
  k.epochs[b.index] = b.race->epoch;
  // What the warp had done when it last met is known to each of its lanes.
  const uint32_t first = machine_.self->index / 32 * 32;
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if (const uint32_t time = self().seen[lane]) k.times[thread_id(b.index, first + lane)] = time;
  }
  k.times[thread_id(b.index, machine_.self->index)] = self().time;
  if (self().acquired) k.merge(*self().acquired);
  return k;
}

void Race::block_barrier(Block& block) {
  ++block.race->epoch;
  KnowledgeRef acquired, pending, released;
  for (const RaceThread& t : block.race->threads) {
    merge_into(&acquired, t.acquired);
    merge_into(&pending, t.pending);
    merge_into(&released, t.released);
  }
  for (RaceThread& t : block.race->threads) {
    ++t.time;
    t.acquired = acquired;
    t.pending = pending;
    t.released = released;
  }
}

void Race::warp_barrier(Block& block, uint32_t warp, uint32_t mask) {
  RaceThread* const lanes = &block.race->threads[warp * 32];
  uint32_t joined[32] = {};
  KnowledgeRef acquired = lanes[__builtin_ctz(mask)].acquired;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    if (lanes[lane].acquired != acquired) merge_into(&acquired, lanes[lane].acquired);
    lanes[lane].seen[lane] = lanes[lane].time;
    for (int i = 0; i < 32; ++i) joined[i] = std::max(joined[i], lanes[lane].seen[i]);
  }
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    RaceThread& t = lanes[__builtin_ctz(rest)];
    std::copy(std::begin(joined), std::end(joined), t.seen);
    t.acquired = acquired;
    ++t.time;
  }
}

void Race::fence() {
  RaceThread& t = self();
  merge_into(&t.acquired, t.pending);
  KnowledgeRef mine = std::make_shared<Knowledge>(own());
  merge_into(&t.released, mine);
  ++t.time;
}

void Race::release(const void* at) {
  KnowledgeRef& slot = published_[reinterpret_cast<uintptr_t>(at)];
  merge_into(&slot, std::make_shared<Knowledge>(own()));
  ++self().time;
}

void Race::acquire(const void* at) {
  const auto found = published_.find(reinterpret_cast<uintptr_t>(at));
  if (found != published_.end()) merge_into(&self().acquired, found->second);
}

Race::Cell& Race::cell(uintptr_t at) {
  Chunk& chunk = cells_[at / kChunk];
  if (!chunk) chunk = std::make_unique<Cell[]>(kChunk);
  return chunk[at % kChunk];
}

bool Race::ordered(const Event& e) const {
  const Block& b = *machine_.block;
  const auto block = static_cast<uint32_t>(e.thread >> 32);
  const auto thread = static_cast<uint32_t>(e.thread);
  const RaceThread& me = self();
  if (block == b.index) {
    if (thread == machine_.self->index || e.epoch < b.race->epoch) return true;
    if (thread / 32 == machine_.self->index / 32 && e.time <= me.seen[thread % 32]) return true;
  }
  if (!me.acquired) return false;
  const auto epoch = me.acquired->epochs.find(block);
  if (epoch != me.acquired->epochs.end() && e.epoch < epoch->second) return true;
  const auto time = me.acquired->times.find(e.thread);
  return time != me.acquired->times.end() && e.time <= time->second;
}

void Race::check(const Event& e, const char* earlier_kind, const char* kind, const void* at,
                 const void* pc) {
  if (e.none() || ordered(e)) return;
  stop("data race at %s: %s at %s after %s by block %u thread %u at %s", place(machine_, at).at,
       kind, code_place(pc).at, earlier_kind, static_cast<uint32_t>(e.thread >> 32),
       static_cast<uint32_t>(e.thread), code_place(e.pc).at);
}

void Race::access(const void* at, uint32_t bytes, uint32_t kind, const void* pc, const Block* of) {
  const Block& b = *machine_.block;
  RaceThread& t = self();
  auto address = reinterpret_cast<uintptr_t>(at);
  const auto* const p = static_cast<const char*>(at);
  const bool is_shared = p >= machine_.shared[0].at && machine_.shared[2].at &&
                         p < machine_.shared[2].at + machine_.shared[2].size;
  // Blocks take turns in the same shared memory: give each its own shadow.
  if (is_shared) address += uint64_t((of ? of->index : b.index) + 1) << 48;
  const Event now{thread_id(b.index, machine_.self->index), b.race->epoch, t.time, pc,
                  kind == kAtomic};
  if (kind == kAtomic) {
    KnowledgeRef& slot = published_[address];
    merge_into(&t.pending, slot);
    merge_into(&slot, t.released);
  }
  for (uint32_t i = 0; i < bytes; ++i) {
    Cell& c = cell(address + i);
    const bool both_atomic = kind == kAtomic && c.write.atomic;
    const char* const what = kind == kRead ? "read" : kind == kWrite ? "write" : "atomic";
    if (!both_atomic) check(c.write, c.write.atomic ? "atomic" : "write", what, p + i, pc);
    if (kind == kRead) {
      if (c.read.thread != now.thread) c.earlier_read = c.read;
      c.read = now;
      continue;
    }
    check(c.read, "read", what, p + i, pc);
    check(c.earlier_read, "read", what, p + i, pc);
    c.write = now;
    c.read = c.earlier_read = Event{};
  }
}

}  // namespace simt
