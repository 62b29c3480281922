// Arena packing: offsets for things that live for a while, such that no two conflict.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "runtime/plan/dependencies.h"
#include "runtime/plan/plan.h"

namespace monograph::plan {

/// Something to place: an intermediate buffer or a launch's workspace.
struct Item {
  BufferId buffer = -1;     ///< -1 for a workspace
  LaunchId workspace = -1;  ///< set for a workspace
  std::int64_t bytes = 0;   ///< a positive multiple of kAlignment
  Lifetime lifetime;
};

/// Which items must not share bytes. Indices are positions in the item list.
class Conflicts {
 public:
  virtual ~Conflicts() = default;
  /// Forgets what was placed.
  virtual void clear() = 0;
  virtual void set_placed(std::int32_t item) = 0;
  /// Appends the placed items that conflict with `item`, in no particular but a fixed order; stops
  /// and returns false once there are more than `limit`.
  virtual bool placed_conflicts(std::int32_t item, std::size_t limit,
                                std::vector<std::int32_t>& out) const = 0;
  /// Appends those of `candidates` that conflict with `item`, in the same order.
  virtual void filter(std::int32_t item, const std::vector<std::int32_t>& candidates,
                      std::vector<std::int32_t>& out) const = 0;
};

/// Items conflict if their closed intervals [first, last] overlap. A query costs
/// O((found + 1) log items).
std::unique_ptr<Conflicts> interval_conflicts(std::vector<std::int64_t> first,
                                              std::vector<std::int64_t> last);

/// Sequential execution: lifetimes in launch order.
std::unique_ptr<Conflicts> sequential_conflicts(const std::vector<Item>& items);

/// Concurrent execution: items conflict unless `edges` order every access of the one before the
/// first access of the other. Exact up to `exact_limit` items (a bit matrix, items^2 / 8 bytes).
/// Beyond that a safe approximation that only sees order through the longest path of the graph.
std::unique_ptr<Conflicts> concurrent_conflicts(const std::vector<Item>& items,
                                                const std::vector<Edge>& edges,
                                                std::size_t launches, std::size_t exact_limit);
inline constexpr std::size_t kExactConflictLimit = 16384;

struct Packing {
  std::vector<std::int64_t> offsets;  ///< by item
  std::int64_t arena_bytes = 0;
};

/// Tries several greedy orders and, for few items, a bounded local search; the smallest arena
/// wins, ties to the earlier. Stops when `floor_bytes` is reached: no packing can be smaller.
Packing pack(const std::vector<Item>& items, Conflicts& conflicts, std::size_t launches,
             std::int64_t floor_bytes);

/// A packing of exactly `floor_bytes`, or nothing if none turned up at a cost linear in items.
std::optional<Packing> pack_to_floor(const std::vector<Item>& items, Conflicts& conflicts,
                                     std::size_t launches, std::int64_t floor_bytes);

}  // namespace monograph::plan
