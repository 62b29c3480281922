#include "runtime/plan/packing.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <tuple>
#include <utility>

namespace monograph::plan {
namespace {

using Order = std::vector<std::int32_t>;

std::size_t index(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

/// Effort is counted in visited conflicts (and a constant per item), never in time, so that results
/// are reproducible.
constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kOrdersEffort = 10'000'000;
constexpr std::int64_t kFloorEffortPerItem = 128;
constexpr std::int64_t kSearchEffort = 1'000'000;
constexpr int kSearchRounds = 400;
constexpr std::size_t kSearchItems = 2048;

/// Places items one after the other into the smallest sufficient gap between conflicting ones.
class Placer {
 public:
  Placer(const std::vector<Item>& items, Conflicts& conflicts)
      : items_(items), conflicts_(conflicts) {}

  /// Nothing if effort() has grown beyond `limit` on the way.
  std::optional<Packing> place(const Order& order, std::int64_t limit) {
    conflicts_.clear();
    placed_.clear();
    sorted_ = 0;
    crowded_ = false;
    packing_.offsets.assign(items_.size(), 0);
    packing_.arena_bytes = 0;
    for (const std::int32_t item : order) {
      if (effort_ > limit) return std::nullopt;
      const std::int64_t offset = best_fit(item);
      packing_.offsets[index(item)] = offset;
      packing_.arena_bytes = std::max(packing_.arena_bytes, offset + items_[index(item)].bytes);
      conflicts_.set_placed(item);
      placed_.push_back(item);
    }
    return packing_;
  }

  std::int64_t effort() const { return effort_; }

 private:
  bool below(std::int32_t a, std::int32_t b) const {
    return std::make_pair(packing_.offsets[index(a)], a) <
           std::make_pair(packing_.offsets[index(b)], b);
  }

  /// Fills neighbours_ with the placed conflicting items, by ascending offset. Few are looked up
  /// and sorted, many are picked from the sorted list of all; the last item tells which to expect.
  void find_neighbours(std::int32_t item) {
    neighbours_.clear();
    const std::size_t few =
        placed_.size() / static_cast<std::size_t>(std::bit_width(placed_.size() | 1U)) + 8;
    if (!crowded_) {
      crowded_ = !conflicts_.placed_conflicts(item, few, neighbours_);
      effort_ += static_cast<std::int64_t>(neighbours_.size()) + 8;
      if (!crowded_) {
        std::sort(neighbours_.begin(), neighbours_.end(),
                  [this](std::int32_t a, std::int32_t b) { return below(a, b); });
        return;
      }
      neighbours_.clear();
    }
    sort_placed();
    conflicts_.filter(item, placed_, neighbours_);
    effort_ += static_cast<std::int64_t>(placed_.size());
    crowded_ = neighbours_.size() > few / 2;
  }

  std::int64_t best_fit(std::int32_t item) {
    find_neighbours(item);
    const std::int64_t bytes = items_[index(item)].bytes;
    std::int64_t cursor = 0;
    std::int64_t best_offset = -1;
    std::int64_t best_gap = 0;
    for (const std::int32_t n : neighbours_) {
      const std::int64_t offset = packing_.offsets[index(n)];
      const std::int64_t gap = offset - cursor;
      if (gap >= bytes && (best_offset < 0 || gap < best_gap)) {
        best_offset = cursor;
        best_gap = gap;
      }
      cursor = std::max(cursor, offset + items_[index(n)].bytes);
    }
    return best_offset >= 0 ? best_offset : cursor;
  }

  /// Sorts what was placed since the last time in among the rest.
  void sort_placed() {
    const auto before = [this](std::int32_t a, std::int32_t b) { return below(a, b); };
    const auto tail = placed_.begin() + static_cast<std::ptrdiff_t>(sorted_);
    if (placed_.end() - tail == 1) {
      std::rotate(std::upper_bound(placed_.begin(), tail, *tail, before), tail, placed_.end());
    } else {
      std::sort(tail, placed_.end(), before);
      std::inplace_merge(placed_.begin(), tail, placed_.end(), before);
    }
    sorted_ = placed_.size();
  }

  const std::vector<Item>& items_;
  Conflicts& conflicts_;
  Packing packing_;
  std::vector<std::int32_t> placed_;
  std::size_t sorted_ = 0;  ///< so many of placed_ are in order of offset
  std::vector<std::int32_t> neighbours_;
  bool crowded_ = false;
  std::int64_t effort_ = 0;
};

/// Items by ascending key, ties by position.
template <class Key>
Order sorted_by(std::size_t count, Key key) {
  Order order(count);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return key(a) < key(b); });
  return order;
}

/// For each item the rank of the broadest launch of its life: rank 0 is the launch with most live
/// bytes. Minimum over a range by a sparse table.
std::vector<std::int32_t> breadth_ranks(const std::vector<Item>& items, std::size_t launches) {
  std::vector<std::int64_t> breadth(launches + 1, 0);
  for (const Item& item : items) {
    breadth[index(item.lifetime.first)] += item.bytes;
    breadth[index(item.lifetime.last) + 1] -= item.bytes;
  }
  std::partial_sum(breadth.begin(), breadth.end(), breadth.begin());
  const Order by_breadth = sorted_by(launches, [&](std::int32_t l) { return -breadth[index(l)]; });
  std::vector<std::vector<std::int32_t>> table(1, std::vector<std::int32_t>(launches));
  for (std::size_t r = 0; r < launches; ++r) {
    table[0][index(by_breadth[r])] = static_cast<std::int32_t>(r);
  }
  for (std::size_t width = 2; width <= launches; width *= 2) {
    const auto& half = table.back();
    std::vector<std::int32_t> level(launches - width + 1);
    for (std::size_t i = 0; i < level.size(); ++i) {
      level[i] = std::min(half[i], half[i + width / 2]);
    }
    table.push_back(std::move(level));
  }
  std::vector<std::int32_t> ranks;
  ranks.reserve(items.size());
  for (const Item& item : items) {
    const std::size_t first = index(item.lifetime.first);
    const std::size_t span = index(item.lifetime.last) - first + 1;
    const std::size_t level = static_cast<std::size_t>(std::bit_width(span)) - 1;
    ranks.push_back(std::min(table[level][first], table[level][first + span - (1ULL << level)]));
  }
  return ranks;
}

/// The greedy orders in the sequence in which they are tried.
std::vector<std::function<Order()>> greedy_orders(const std::vector<Item>& items,
                                                  std::size_t launches) {
  const std::size_t n = items.size();
  const auto bytes = [&items](std::int32_t i) { return items[index(i)].bytes; };
  const auto first = [&items](std::int32_t i) { return items[index(i)].lifetime.first; };
  const auto last = [&items](std::int32_t i) { return items[index(i)].lifetime.last; };
  const auto span = [=](std::int32_t i) { return std::int64_t{last(i)} - first(i) + 1; };
  return {
      // Greedy by size: the largest first.
      [=] { return sorted_by(n, [=](std::int32_t i) { return std::pair(-bytes(i), first(i)); }); },
      // Greedy by breadth: what is alive at the most crowded launch first.
      [=, &items] {
        const auto ranks = breadth_ranks(items, launches);
        return sorted_by(n, [&](std::int32_t i) { return std::pair(ranks[index(i)], -bytes(i)); });
      },
      // As an allocator at run time would see them.
      [=] { return sorted_by(n, [=](std::int32_t i) { return std::pair(first(i), -bytes(i)); }); },
      // The same backwards in time.
      [=] { return sorted_by(n, [=](std::int32_t i) { return std::pair(-last(i), -bytes(i)); }); },
      // Long-lived first.
      [=] { return sorted_by(n, [=](std::int32_t i) { return std::pair(-span(i), -bytes(i)); }); },
      // Largest area in the plane of bytes and launches first.
      [=] {
        return sorted_by(n, [=](std::int32_t i) {
          return std::pair(-static_cast<double>(bytes(i)) * static_cast<double>(span(i)), first(i));
        });
      },
  };
}

/// Deterministic pseudo-random numbers (Knuth's MMIX constants); quality hardly matters here.
class Lcg {
 public:
  std::size_t below(std::size_t n) {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::size_t>((state_ >> 33) % n);
  }

 private:
  std::uint64_t state_ = 20240229;
};

struct Attempt {
  Packing packing;
  Order order;
};

/// The best of the greedy orders, unless all were given up because of `limit`. The first is always
/// carried through if `at_least_one`.
std::optional<Attempt> best_greedy(const std::vector<Item>& items, Placer& placer,
                                   std::size_t launches, std::int64_t floor_bytes,
                                   std::int64_t limit, bool at_least_one) {
  std::optional<Attempt> best;
  for (const auto& make_order : greedy_orders(items, launches)) {
    if (best && (best->packing.arena_bytes <= floor_bytes || placer.effort() > limit)) break;
    Order order = make_order();
    auto packing = placer.place(order, at_least_one && !best ? kNoLimit : limit);
    if (!packing) break;
    if (!best || packing->arena_bytes < best->packing.arena_bytes) {
      best = Attempt{std::move(*packing), std::move(order)};
    }
  }
  return best;
}

/// Moves items that touch the top of the arena to earlier places in the order while that helps or
/// at least doesn't hurt.
Packing improved(const std::vector<Item>& items, Placer& placer, Attempt current,
                 std::int64_t floor_bytes) {
  Lcg random;
  const std::int64_t limit = placer.effort() + kSearchEffort;
  for (int round = 0; round < kSearchRounds; ++round) {
    if (current.packing.arena_bytes <= floor_bytes) break;
    std::vector<std::size_t> top;
    for (std::size_t at = 1; at < current.order.size(); ++at) {
      const std::size_t item = index(current.order[at]);
      const std::int64_t end = current.packing.offsets[item] + items[item].bytes;
      if (end == current.packing.arena_bytes) top.push_back(at);
    }
    if (top.empty()) break;
    const std::size_t from = top[random.below(top.size())];
    const std::size_t to = random.below(from);
    Order candidate = current.order;
    const auto start = candidate.begin();
    std::rotate(start + static_cast<std::ptrdiff_t>(to), start + static_cast<std::ptrdiff_t>(from),
                start + static_cast<std::ptrdiff_t>(from) + 1);
    auto packing = placer.place(candidate, limit);
    if (!packing) break;
    // Never larger than before, so the last one accepted is the best.
    if (packing->arena_bytes > current.packing.arena_bytes) continue;
    current = {std::move(*packing), std::move(candidate)};
  }
  return std::move(current.packing);
}

}  // namespace

Packing pack(const std::vector<Item>& items, Conflicts& conflicts, std::size_t launches,
             std::int64_t floor_bytes) {
  if (items.empty()) return {};
  Placer placer(items, conflicts);
  auto best = best_greedy(items, placer, launches, floor_bytes, kOrdersEffort, true);
  if (items.size() > kSearchItems) return std::move(best->packing);
  return improved(items, placer, std::move(*best), floor_bytes);
}

std::optional<Packing> pack_to_floor(const std::vector<Item>& items, Conflicts& conflicts,
                                     std::size_t launches, std::int64_t floor_bytes) {
  if (items.empty()) return Packing{};
  Placer placer(items, conflicts);
  const std::int64_t limit = kFloorEffortPerItem * static_cast<std::int64_t>(items.size());
  auto best = best_greedy(items, placer, launches, floor_bytes, limit, false);
  if (!best || best->packing.arena_bytes > floor_bytes) return std::nullopt;
  return std::move(best->packing);
}

}  // namespace monograph::plan
