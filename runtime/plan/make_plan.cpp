#include <monograph/error.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "runtime/plan/dependencies.h"
#include "runtime/plan/internal.h"
#include "runtime/plan/packing.h"

namespace monograph::plan {
namespace {

std::size_t index(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

/// Everything that needs bytes in the arena. Empty and untouched buffers don't.
std::vector<Item> items_of(const Problem& problem, const std::vector<Lifetime>& lifetimes) {
  std::vector<Item> items;
  for (const Buffer& b : problem.buffers) {
    const Lifetime& life = lifetimes[index(b.id)];
    if (b.kind != BufferKind::kIntermediate || b.bytes == 0 || life.first < 0) continue;
    items.push_back({b.id, -1, round_up(b.bytes), life});
  }
  for (const Launch& l : problem.launches) {
    if (l.workspace_bytes == 0) continue;
    items.push_back({-1, l.id, round_up(l.workspace_bytes), Lifetime{l.id, l.id, {l.id}}});
  }
  return items;
}

/// Largest sum over all launches of `bytes_of(item)` of the items alive.
template <class BytesOf>
std::int64_t peak(const std::vector<Item>& items, std::size_t launches, BytesOf bytes_of) {
  std::vector<std::int64_t> change(launches + 1, 0);
  for (const Item& item : items) {
    change[index(item.lifetime.first)] += bytes_of(item);
    change[index(item.lifetime.last) + 1] -= bytes_of(item);
  }
  std::int64_t live = 0;
  std::int64_t most = 0;
  for (const std::int64_t c : change) {
    live += c;
    most = std::max(most, live);
  }
  return most;
}

/// Order along the longest path is known cheaply and usually enough: a packing that reaches the
/// floor needs no better. Otherwise all of the order counts.
Packing pack_concurrent(const std::vector<Item>& items, const std::vector<Edge>& edges,
                        std::size_t launches, std::int64_t floor_bytes) {
  const auto cheap = concurrent_conflicts(items, edges, launches, 0);
  if (auto packing = pack_to_floor(items, *cheap, launches, floor_bytes)) {
    return std::move(*packing);
  }
  const auto conflicts = concurrent_conflicts(items, edges, launches, kExactConflictLimit);
  return pack(items, *conflicts, launches, floor_bytes);
}

std::vector<Placement> placements_of(const Problem& problem, const std::vector<Item>& items,
                                     const Packing& packing,
                                     const std::vector<Lifetime>& lifetimes) {
  std::vector<Placement> placements;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Item& item = items[i];
    placements.push_back({item.buffer, item.workspace, packing.offsets[i], item.bytes,
                          item.lifetime.first, item.lifetime.last});
  }
  for (const Buffer& b : problem.buffers) {
    const Lifetime& life = lifetimes[index(b.id)];
    if (b.kind != BufferKind::kIntermediate || b.bytes != 0 || life.first < 0) continue;
    placements.push_back({b.id, -1, 0, 0, life.first, life.last});
  }
  std::sort(placements.begin(), placements.end(), [](const Placement& a, const Placement& b) {
    return std::tie(a.buffer, a.launch) < std::tie(b.buffer, b.launch);
  });
  return placements;
}

std::int64_t find_offset(const Plan& plan, BufferId buffer, LaunchId launch,
                         const std::string& what) {
  const auto before = [](const Placement& p, const std::pair<BufferId, LaunchId>& key) {
    return std::pair(p.buffer, p.launch) < key;
  };
  const auto it = std::lower_bound(plan.placements.begin(), plan.placements.end(),
                                   std::pair(buffer, launch), before);
  if (it == plan.placements.end() || it->buffer != buffer || it->launch != launch) {
    throw Error(Code::kInternal, what + " has no place in the arena");
  }
  return it->offset;
}

}  // namespace

std::string_view buffer_kind_name(BufferKind kind) noexcept {
  switch (kind) {
    case BufferKind::kInput:
      return "input";
    case BufferKind::kOutput:
      return "output";
    case BufferKind::kWeight:
      return "weight";
    case BufferKind::kState:
      return "state";
    case BufferKind::kIntermediate:
      return "intermediate";
  }
  return "unknown";
}

std::int64_t Plan::offset_of(BufferId buffer) const {
  return find_offset(*this, buffer, -1, "buffer " + std::to_string(buffer));
}

std::int64_t Plan::workspace_offset_of(LaunchId launch) const {
  return find_offset(*this, -1, launch, "the workspace of launch " + std::to_string(launch));
}

Plan make_plan(Problem problem, Concurrency concurrency) {
  validate(problem);
  const std::size_t launches = problem.launches.size();
  const Dependencies dependencies = find_dependencies(problem);
  Plan plan;
  plan.concurrency = concurrency;
  plan.edges = reduce(dependencies);

  const std::vector<Item> items = items_of(problem, dependencies.lifetimes);
  const std::int64_t floor_bytes =
      peak(items, launches, [](const Item& item) { return item.bytes; });
  const Packing packing = concurrency == Concurrency::kSequential
                              ? pack(items, *sequential_conflicts(items), launches, floor_bytes)
                              : pack_concurrent(items, plan.edges, launches, floor_bytes);
  plan.arena_bytes = packing.arena_bytes;
  plan.placements = placements_of(problem, items, packing, dependencies.lifetimes);
  plan.lower_bound_bytes = peak(items, launches, [&problem](const Item& item) {
    return item.buffer >= 0 ? problem.buffers[index(item.buffer)].bytes
                            : problem.launches[index(item.workspace)].workspace_bytes;
  });

  for (const Buffer& b : problem.buffers) {
    if (b.kind == BufferKind::kInput) ++plan.input_count;
    if (b.kind == BufferKind::kOutput) ++plan.output_count;
  }
  plan.problem = std::move(problem);
  return plan;
}

}  // namespace monograph::plan
