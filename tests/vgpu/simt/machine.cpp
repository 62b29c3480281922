#include "tests/vgpu/simt/machine.h"

#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/vgpu/driver/device.h"
#include "tests/vgpu/simt/race.h"

// Present only in a process that runs under the address sanitizer.
extern "C" {
__attribute__((weak)) void __sanitizer_start_switch_fiber(void** save, const void* bottom,
                                                          size_t size);
__attribute__((weak)) void __sanitizer_finish_switch_fiber(void* fake, const void** old_bottom,
                                                           size_t* old_size);
__attribute__((weak)) void __asan_unpoison_memory_region(const volatile void* at, size_t size);
}

namespace simt {
namespace bc = boost::context::detail;
namespace {

constexpr uint32_t kStacks = 8192, kStack = 64 << 10, kPage = 4096, kResident = 4;
constexpr unsigned char kCanaryByte = 0xcb;

Machine* top = nullptr;
int depth = 0;

// Stacks of one nesting level, the lowest page of each a guard page. One pool for the process:
// every guard page is a mapping of its own, and those are limited.
char* stack_pool(int level) {
  static char* pools[2] = {};
  if (level > 1) std::abort();
  if (!pools[level]) {
    void* const at = mmap(nullptr, size_t(kStacks) * kStack, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) std::abort();
    pools[level] = static_cast<char*>(at);
    for (uint32_t i = 0; i < kStacks; ++i)
      mprotect(pools[level] + size_t(i) * kStack, kPage, PROT_NONE);
  }
  return pools[level];
}

Thread* self() {
  return top->self;
}

// ---- services for kernels ----
void barrier(int line) {
  Block& b = *top->block;
  Thread* const t = self();
  if (b.at_barrier && b.barrier_line != line) {
    stop("divergent barrier: __syncthreads at line %d, other threads are at line %d", line,
         b.barrier_line);
  }
  b.barrier_line = t->line = line;
  if (b.exited) {
    stop("__syncthreads at line %d after %u threads of the block have exited", line, b.exited);
  }
  if (++b.at_barrier < b.live) {
    t->state = State::kAtBarrier;
    return suspend();
  }
  b.at_barrier = 0;
  if (top->race) top->race->block_barrier(b);
  b.ready.push_back(t);
  for (Thread& other : b.threads) {
    if (other.state == State::kAtBarrier) make_ready(&b, &other);
  }
  suspend();
}

// Lets the last lane that arrived complete the operation for all lanes of the mask.
void complete(Block* b, Thread* lanes, uint32_t warp, Op op, uint32_t mask, int line) {
  uint64_t votes = 0;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    Thread& t = lanes[__builtin_ctz(rest)];
    if (t.op != op || t.mask != mask || t.line != line) {
      stop("divergent warp operation: line %d mask %#x, lane %u is at line %d mask %#x", line, mask,
           t.index % 32, t.line, t.mask);
    }
    if (op == Op::kShuffle && !(mask >> t.source & 1)) {
      stop("shuffle at line %d reads lane %d, which is not in mask %#x", line, t.source, mask);
    }
    votes |= uint64_t(t.value != 0) << (t.index % 32);
  }
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    Thread& t = lanes[__builtin_ctz(rest)];
    t.result = op == Op::kShuffle ? lanes[t.source].value : votes;
    if (&t != self()) make_ready(b, &t);
  }
  if (op == Op::kSync && top->race) top->race->warp_barrier(*b, warp, mask);
  b->arrived[warp] &= ~mask;
}

uint64_t collective(Op op, uint32_t mask, uint64_t value, int source, int line) {
  Block& b = *top->block;
  Thread* const t = self();
  const uint32_t warp = t->index / 32, lane = t->index % 32;
  const uint32_t warp_size = std::min<uint32_t>(32, b.threads.size() - warp * 32);
  if (!(mask >> lane & 1)) {
    stop("warp operation at line %d: own lane is not in mask %#x", line, mask);
  }
  if (warp_size < 32) mask &= (1u << warp_size) - 1;  // lanes that were never launched
  t->op = op;
  t->mask = mask;
  t->value = value;
  t->source = source;
  t->line = line;
  b.arrived[warp] |= 1u << lane;
  if ((b.arrived[warp] & mask) != mask) {
    t->state = State::kAtWarp;
    suspend();
  } else {
    complete(&b, &b.threads[warp * 32], warp, op, mask, line);
  }
  return self()->result;
}

const void* gather(const void* own, uint32_t bytes, int line) {
  Block& b = *top->block;
  const uint32_t warp = self()->index / 32, lane = self()->index % 32;
  // Lanes may still read the previous operands while others write the next, hence two halves.
  std::vector<char>& all = b.gather[warp];
  constexpr uint32_t kHalf = 32 * 256;
  if (bytes > 256) stop("warp operation at line %d gathers %u bytes", line, bytes);
  all.resize(2 * kHalf);
  self()->gather_half ^= 1;
  char* const half = all.data() + self()->gather_half * kHalf;
  std::memcpy(half + lane * bytes, own, bytes);
  collective(Op::kGather, ~0u, 0, 0, line);
  return half;
}

// Where hardware might run another warp first: with a seed, sometimes let others go.
void preempt() {
  if (!top->job.seed || pick(8)) return;
  top->block->ready.push_back(self());
  suspend();
}

void yield() {
  Block& b = *top->block;
  if (++b.spins > 10'000'000) stop("a thread spins for ever");
  progress_bulk(&b);
  b.ready.insert(b.ready.begin(), self());
  suspend();
}

[[noreturn]] void fail(const char* what, int line) {
  stop("%s at line %d", what, line);
}

void access(const void* at, uint32_t bytes, uint32_t kind, const void* pc) {
  if (top->race && !on_fiber_stack(at)) top->race->access(at, bytes, kind, pc);
}
void fence() {
  if (top->race) top->race->fence();
}

void grid_wait() {
  if (top->grid_done) return;
  top->wants_grid = true;  // the scheduler runs the producers on its own, larger stack
  top->block->ready.push_back(self());
  suspend();
}
void grid_launch() {}

Core services{{},           false,        barrier,        collective,   gather,
              preempt,      yield,        fail,           access,       fence,
              grid_wait,    grid_launch,  copy_async,     copy_commit,  copy_wait,
              bulk_copy,    barrier_init, barrier_arrive, barrier_test, cluster_arrive,
              cluster_wait, cluster_store};

// ---- fibers ----
void set_now(const Block& b, const Thread& t) {
  Now& now = services.now;
  now.thread = t.tid;
  now.block = b.idx;
  now.block_dim = top->job.block;
  now.grid_dim = top->job.grid;
  now.lane = t.index % 32;
  now.warp = t.index / 32;
}

void arrived_on_fiber() {
  if (__sanitizer_finish_switch_fiber) {
    __sanitizer_finish_switch_fiber(self()->fake_stack, &top->scheduler_stack,
                                    &top->scheduler_stack_size);
  }
}

void thread_main(bc::transfer_t t) {
  top->scheduler = t.fctx;
  arrived_on_fiber();
  top->job.kernel->call(top->job.params);
  copy_wait(kAllCopies);
  self()->state = State::kDone;
  for (;;) suspend();
}

char* stack_top(int stack) {
  return top->stacks + size_t(stack + 1) * kStack - size_t(stack % 61) * 192;  // spread over sets
}

void resume(Thread* t) {
  top->self = t;
  if (t->stack < 0) {
    t->stack = static_cast<int>(top->free_stacks.back());
    top->free_stacks.pop_back();
    if (__asan_unpoison_memory_region) {  // what its last user left without returning
      __asan_unpoison_memory_region(top->stacks + size_t(t->stack) * kStack + kPage,
                                    kStack - kPage);
    }
    t->context = bc::make_fcontext(stack_top(t->stack), kStack / 2, thread_main);
  }
  set_now(*top->block, *t);
  if (__sanitizer_start_switch_fiber) {
    const char* const bottom = top->stacks + size_t(t->stack) * kStack;
    __sanitizer_start_switch_fiber(&top->scheduler_fake_stack, bottom,
                                   static_cast<size_t>(stack_top(t->stack) - bottom));
  }
  const bc::fcontext_t back = bc::jump_fcontext(t->context, nullptr).fctx;
  if (__sanitizer_finish_switch_fiber) {
    __sanitizer_finish_switch_fiber(top->scheduler_fake_stack, nullptr, nullptr);
  }
  t->context = back;
}

// ---- shared memory ----
// The image's TLS block for this OS thread holds exactly its __shared__ variables.
Span tls_of(const Image& image) {
  struct Query {
    uintptr_t inside;
    Span found;
  } query{reinterpret_cast<uintptr_t>(image.core), {}};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        auto* const q = static_cast<Query*>(data);
        bool mine = false;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& p = info->dlpi_phdr[i];
          mine |= p.p_type == PT_LOAD && q->inside - (info->dlpi_addr + p.p_vaddr) < p.p_memsz;
        }
        for (int i = 0; mine && i < info->dlpi_phnum; ++i) {
          const auto& p = info->dlpi_phdr[i];
          if (p.p_type == PT_TLS) q->found = {static_cast<char*>(info->dlpi_tls_data), p.p_memsz};
        }
        return int(mine);
      },
      &query);
  return query.found;
}

void find_shared() {
  char* const dynamic = reinterpret_cast<char*>(top->job.image->dynamic_shared());
  const Span tls = tls_of(*top->job.image);
  char* const after = dynamic + kSmemMax + kCanary;
  top->shared[0] = {tls.at, static_cast<size_t>(dynamic - tls.at)};
  top->shared[1] = {dynamic, top->job.dynamic_shared};
  top->shared[2] = {after, static_cast<size_t>(tls.at + tls.size - after)};
}

void write_canary() {
  std::memset(top->shared[1].at + top->job.dynamic_shared, kCanaryByte, kCanary);
}

// Gives the turn, and with it the shared memory, to another block.
void switch_to(Block* next) {
  if (next == top->block) return;
  char* keep = top->block ? top->block->shared.data() : nullptr;
  const char* load = next ? next->shared.data() : nullptr;
  for (const Span& s : top->shared) {
    if (keep && s.size) std::memcpy(keep, s.at, s.size), keep += s.size;
    if (load && s.size) std::memcpy(s.at, load, s.size), load += s.size;
  }
  top->block = next;
}

// ---- blocks ----
bool canary_intact() {
  const unsigned char* const at =
      reinterpret_cast<unsigned char*>(top->shared[1].at) + top->job.dynamic_shared;
  for (uint32_t i = 0; i < kCanary; ++i) {
    if (at[i] == kCanaryByte) continue;
    report("the block wrote %u bytes past its dynamic shared memory", i);
    return false;
  }
  return true;
}

void run_thread() {
  Block& b = *top->block;
  if (top->job.seed) std::swap(b.ready[pick(b.ready.size())], b.ready.back());
  Thread* const t = b.ready.back();
  b.ready.pop_back();
  resume(t);
  if (top->failed || t->state != State::kDone) return;
  top->free_stacks.push_back(static_cast<uint32_t>(t->stack));
  ++b.exited;
  if (b.at_barrier) {
    return report("exited while other threads wait at __syncthreads line %d", b.barrier_line);
  }
  if (--b.live) return;
  if (!b.bulk.empty()) return report("the block ended with bulk copies that nothing waited for");
  if (!canary_intact()) return;
  switch_to(nullptr);
  std::erase_if(top->resident, [](const auto& r) { return r->live == 0; });
}

void report_deadlock() {
  switch_to(top->resident[0].get());
  for (Thread& t : top->block->threads) {
    if (t.state == State::kReady || t.state == State::kDone) continue;
    top->self = &t;
    return report("deadlock: waits for ever at line %d (%s)", t.line,
                  t.state == State::kAtBarrier   ? "__syncthreads"
                  : t.state == State::kAtCluster ? "a cluster's barrier"
                                                 : "warp operation");
  }
}

bool choose_block(size_t limit) {
  if (top->block && !top->block->ready.empty() && (limit == 1 || pick(64))) return true;
  const size_t n = top->resident.size(), from = pick(n);
  for (size_t i = 0; i < n; ++i) {
    Block* const b = top->resident[(from + i) % n].get();
    if (!b->ready.empty()) {
      switch_to(b);
      return true;
    }
  }
  return false;
}

// Runs what the running kernel depends on, on the scheduler's stack.
void finish_producers() {
  top->wants_grid = false;
  top->grid_done = true;
  Block* const b = top->block;
  switch_to(nullptr);
  vgpu::grid_wait_current();
  services.checks_races = top->race != nullptr;
  write_canary();  // they may have used the same image's memory
  switch_to(b);
}

void run_blocks() {
  const std::vector<uint32_t>& order = top->order;
  const Dim d = top->job.block;
  const size_t threads = size_t(d.x) * d.y * d.z;
  const size_t limit = top->job.seed ? std::min<size_t>(kResident, kStacks / threads) : 1;
  for (size_t next = 0; !top->failed;) {
    for (; top->resident.size() < limit && next < order.size(); ++next) {
      if (!top->started[order[next]]) start_block(order[next]);
    }
    if (top->resident.empty()) return;
    if (!choose_block(limit)) return report_deadlock();
    run_thread();
    if (top->wants_grid) finish_producers();
  }
}

std::vector<uint32_t> block_order() {
  const Dim g = top->job.grid;
  std::vector<uint32_t> order(size_t(g.x) * g.y * g.z);
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<uint32_t>(i);
  if (top->job.seed) {
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[pick(i)]);
  }
  return order;
}

}  // namespace

Machine* machine() {
  return top;
}
Core* core() {
  return &services;
}

uint32_t pick(size_t n) {  // splitmix64 reduced to [0, n)
  uint64_t z = (top->rng += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return static_cast<uint32_t>((((z ^ (z >> 31)) >> 32) * n) >> 32);
}

void suspend() {
  if (__sanitizer_start_switch_fiber) {
    __sanitizer_start_switch_fiber(&self()->fake_stack, top->scheduler_stack,
                                   top->scheduler_stack_size);
  }
  top->scheduler = bc::jump_fcontext(top->scheduler, nullptr).fctx;
  arrived_on_fiber();
}

namespace {
void set_error(const char* text, va_list args) {
  const Thread* const t = top->self;
  const Block* const b = top->block;
  char what[512];
  std::vsnprintf(what, sizeof what, text, args);
  char all[700];
  std::snprintf(all, sizeof all, "kernel %s block (%u,%u,%u) thread %u: %s", top->job.kernel->name,
                b ? b->idx.x : 0, b ? b->idx.y : 0, b ? b->idx.z : 0, t ? t->index : 0, what);
  top->error = all;
  top->failed = true;
}
}  // namespace

void report(const char* text, ...) {
  va_list args;
  va_start(args, text);
  set_error(text, args);
  va_end(args);
}

void stop(const char* text, ...) {
  va_list args;
  va_start(args, text);
  set_error(text, args);
  va_end(args);
  for (;;) suspend();
}

bool on_fiber_stack(const void* at) {
  const auto* const p = static_cast<const char*>(at);
  return p >= top->stacks && p < top->stacks + size_t(kStacks) * kStack;
}

size_t static_shared_bytes(const Image& image) {
  image.dynamic_shared();
  return tls_of(image).size - kSmemMax - kCanary;
}

Outcome run(const Job& job, std::string* error) {
  const auto m = std::make_unique<Machine>();
  m->job = job;
  m->rng = job.seed;
  m->outer = top;
  m->stacks = stack_pool(depth++);
  const Now now = services.now;
  top = m.get();
  for (uint32_t i = kStacks; i--;) m->free_stacks.push_back(i);
  if (job.image->instrumented) m->race = std::make_unique<Race>(*m);
  services.checks_races = m->race != nullptr;
  m->order = block_order();
  m->started.resize(m->order.size());
  find_shared();
  write_canary();
  sigjmp_buf* const outer_exit = vgpu::exchange_fault_exit(&m->fault);
  if (const int signal_number = sigsetjmp(m->fault, 1); signal_number == 0) {
    run_blocks();
  } else {  // a thread touched what it may not; its fiber is never resumed
    if (__sanitizer_start_switch_fiber) {  // the jump left the fiber without a word
      __sanitizer_start_switch_fiber(nullptr, top->scheduler_stack, top->scheduler_stack_size);
      __sanitizer_finish_switch_fiber(top->scheduler_fake_stack, nullptr, nullptr);
    }
    const bool misaligned = signal_number == SIGILL;
    report(misaligned ? "misaligned access" : "access to an illegal address");
    m->outcome = misaligned ? Outcome::kMisaligned : Outcome::kIllegalAddress;
  }
  vgpu::exchange_fault_exit(outer_exit);
  if (m->failed) *error = m->error;
  top = m->outer;
  services.now = now;
  --depth;
  return m->failed ? m->outcome : Outcome::kFine;
}

}  // namespace simt
