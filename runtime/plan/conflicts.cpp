#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "runtime/plan/packing.h"

namespace monograph::plan {
namespace {

std::size_t index(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

/// Intervals sorted by start; a tree over them holds the largest end of the placed ones, so that
/// the placed intervals overlapping a given one are listed without visiting the others.
class IntervalConflicts final : public Conflicts {
 public:
  IntervalConflicts(std::vector<std::int64_t> first, std::vector<std::int64_t> last)
      : first_(std::move(first)), last_(std::move(last)), by_first_(first_.size()) {
    std::iota(by_first_.begin(), by_first_.end(), 0);
    std::stable_sort(by_first_.begin(), by_first_.end(), [this](std::int32_t a, std::int32_t b) {
      return first_[index(a)] < first_[index(b)];
    });
    leaf_of_.resize(first_.size());
    for (std::size_t i = 0; i < by_first_.size(); ++i) leaf_of_[index(by_first_[i])] = i;
    leaves_ = std::bit_ceil(std::max<std::size_t>(first_.size(), 1));
    clear();
  }

  void clear() override { tree_.assign(2 * leaves_, kNothing); }

  void set_placed(std::int32_t item) override {
    for (std::size_t n = leaves_ + leaf_of_[index(item)]; n >= 1; n /= 2) {
      tree_[n] = std::max(tree_[n], last_[index(item)]);
    }
  }

  bool placed_conflicts(std::int32_t item, std::size_t limit,
                        std::vector<std::int32_t>& out) const override {
    const auto starts_after = [this](std::int64_t value, std::int32_t other) {
      return value < first_[index(other)];
    };
    const auto end =
        std::upper_bound(by_first_.begin(), by_first_.end(), last_[index(item)], starts_after);
    const Query query{index(end - by_first_.begin()), first_[index(item)], out.size() + limit};
    collect(1, 0, leaves_, query, out);
    return out.size() <= query.most;
  }

  void filter(std::int32_t item, const std::vector<std::int32_t>& candidates,
              std::vector<std::int32_t>& out) const override {
    const std::int64_t first = first_[index(item)];
    const std::int64_t last = last_[index(item)];
    for (const std::int32_t c : candidates) {
      if (first_[index(c)] <= last && first <= last_[index(c)]) out.push_back(c);
    }
  }

 private:
  static constexpr std::int64_t kNothing = std::int64_t{-1} << 40;

  struct Query {
    std::size_t leaf_end;  ///< later leaves start too late
    std::int64_t from;     ///< what ends before this is over
    std::size_t most;      ///< size of the result at which to give up
  };

  void collect(std::size_t node, std::size_t begin, std::size_t width, const Query& query,
               std::vector<std::int32_t>& out) const {
    if (begin >= query.leaf_end || tree_[node] < query.from || out.size() > query.most) return;
    if (width == 1) {
      out.push_back(by_first_[begin]);
      return;
    }
    collect(2 * node, begin, width / 2, query, out);
    collect(2 * node + 1, begin + width / 2, width / 2, query, out);
  }

  std::vector<std::int64_t> first_;
  std::vector<std::int64_t> last_;
  std::vector<std::int32_t> by_first_;
  std::vector<std::size_t> leaf_of_;
  std::size_t leaves_ = 1;
  std::vector<std::int64_t> tree_;
};

using Bits = std::vector<std::uint64_t>;

/// Successor lists of launches in one array.
class Successors {
 public:
  Successors(const std::vector<Edge>& edges, std::size_t launches)
      : begin_(launches + 1, 0), to_(edges.size()) {
    for (const Edge& e : edges) ++begin_[index(e.from) + 1];
    std::partial_sum(begin_.begin(), begin_.end(), begin_.begin());
    std::vector<std::size_t> next(begin_.begin(), begin_.end() - 1);
    for (const Edge& e : edges) to_[next[index(e.from)]++] = e.to;
  }
  const LaunchId* begin(std::size_t launch) const { return to_.data() + begin_[launch]; }
  const LaunchId* end(std::size_t launch) const { return to_.data() + begin_[launch + 1]; }

 private:
  std::vector<std::size_t> begin_;
  std::vector<LaunchId> to_;
};

/// In-place transposition of a 64 x 64 bit block (Warren, "Hacker's Delight", 7-3), with bit i of
/// word k as element (k, i).
void transpose(std::array<std::uint64_t, 64>& block) {
  std::uint64_t mask = 0x00000000FFFFFFFFU;
  for (std::size_t j = 32; j != 0; j /= 2, mask ^= mask << j) {
    for (std::size_t k = 0; k < 64; k = ((k | j) + 1) & ~j) {
      const std::uint64_t t = ((block[k] >> j) ^ block[k | j]) & mask;
      block[k] ^= t << j;
      block[k | j] ^= t;
    }
  }
}

/// All pairs of items as a bit matrix; items are ranked by first access.
class MatrixConflicts final : public Conflicts {
 public:
  MatrixConflicts(const std::vector<Item>& items, const std::vector<Edge>& edges,
                  std::size_t launches)
      : words_((items.size() + 63) / 64), item_of_(items.size()), rank_of_(items.size()) {
    std::iota(item_of_.begin(), item_of_.end(), 0);
    std::stable_sort(item_of_.begin(), item_of_.end(), [&](std::int32_t a, std::int32_t b) {
      return items[index(a)].lifetime.first < items[index(b)].lifetime.first;
    });
    for (std::size_t r = 0; r < item_of_.size(); ++r) rank_of_[index(item_of_[r])] = r;
    matrix_.assign(words_ * 64 * words_, 0);
    find_followers(items, edges, launches);
    make_symmetric();
    clear();
  }

  void clear() override { placed_.assign(words_, 0); }

  void set_placed(std::int32_t item) override {
    const std::size_t rank = rank_of_[index(item)];
    placed_[rank / 64] |= std::uint64_t{1} << (rank % 64);
  }

  bool placed_conflicts(std::int32_t item, std::size_t limit,
                        std::vector<std::int32_t>& out) const override {
    const std::uint64_t* ordered = row(rank_of_[index(item)]);
    const std::size_t most = out.size() + limit;
    for (std::size_t w = 0; w < words_ && out.size() <= most; ++w) {
      for (std::uint64_t bits = placed_[w] & ~ordered[w]; bits != 0; bits &= bits - 1) {
        out.push_back(item_of_[w * 64 + static_cast<std::size_t>(std::countr_zero(bits))]);
      }
    }
    return out.size() <= most;
  }

  void filter(std::int32_t item, const std::vector<std::int32_t>& candidates,
              std::vector<std::int32_t>& out) const override {
    const std::uint64_t* ordered = row(rank_of_[index(item)]);
    for (const std::int32_t c : candidates) {
      const std::size_t rank = rank_of_[index(c)];
      if ((ordered[rank / 64] >> (rank % 64) & 1U) == 0) out.push_back(c);
    }
  }

 private:
  std::uint64_t* row(std::size_t rank) { return matrix_.data() + rank * words_; }
  const std::uint64_t* row(std::size_t rank) const { return matrix_.data() + rank * words_; }

  /// Row of A := items whose first access is a strict descendant of every sink of A.
  void find_followers(const std::vector<Item>& items, const std::vector<Edge>& edges,
                      std::size_t launches) {
    std::vector<std::vector<std::size_t>> begun_by(launches);
    std::vector<std::vector<std::size_t>> ended_by(launches);
    for (std::size_t r = 0; r < item_of_.size(); ++r) {
      const Lifetime& life = items[index(item_of_[r])].lifetime;
      begun_by[index(life.first)].push_back(r);
      for (const LaunchId sink : life.sinks) ended_by[index(sink)].push_back(r);
    }
    std::vector<std::int32_t> pending(launches, 0);
    for (const Edge& e : edges) ++pending[index(e.to)];
    const Successors successors(edges, launches);
    std::vector<Bits> later(launches);  // items begun by strict descendants of the launch
    std::vector<bool> seen(item_of_.size(), false);
    for (std::size_t v = launches; v-- > 0;) {
      Bits bits(words_, 0);
      for (const LaunchId* s = successors.begin(v); s != successors.end(v); ++s) {
        for (std::size_t w = 0; w < words_; ++w) bits[w] |= later[index(*s)][w];
        for (const std::size_t r : begun_by[index(*s)]) bits[r / 64] |= std::uint64_t{1} << r % 64;
        if (--pending[index(*s)] == 0) later[index(*s)] = Bits{};
      }
      for (const std::size_t r : ended_by[v]) {
        std::uint64_t* out = row(r);
        for (std::size_t w = 0; w < words_; ++w) out[w] = seen[r] ? out[w] & bits[w] : bits[w];
        seen[r] = true;
      }
      if (pending[v] > 0) later[v] = std::move(bits);
    }
  }

  /// Followers have higher ranks, so blocks on or above the diagonal are mirrored below it.
  void make_symmetric() {
    std::array<std::uint64_t, 64> block{};
    for (std::size_t bi = 0; bi < words_; ++bi) {
      for (std::size_t bj = bi; bj < words_; ++bj) {
        for (std::size_t k = 0; k < 64; ++k) block[k] = row(bi * 64 + k)[bj];
        transpose(block);
        for (std::size_t k = 0; k < 64; ++k) row(bj * 64 + k)[bi] |= block[k];
      }
    }
  }

  std::size_t words_;
  std::vector<std::int32_t> item_of_;
  std::vector<std::size_t> rank_of_;
  Bits matrix_;  ///< set: ordered, may share bytes
  Bits placed_;
};

/// A longest path; from each of its launches the next is a direct successor.
std::vector<LaunchId> longest_path(const Successors& successors, std::size_t launches) {
  std::vector<std::int32_t> length(launches, 1);
  std::vector<LaunchId> next(launches, -1);
  LaunchId start = -1;
  for (std::size_t v = launches; v-- > 0;) {
    for (const LaunchId* s = successors.begin(v); s != successors.end(v); ++s) {
      if (length[index(*s)] + 1 > length[v]) {
        length[v] = length[index(*s)] + 1;
        next[v] = *s;
      }
    }
    if (start < 0 || length[v] >= length[index(start)]) start = static_cast<LaunchId>(v);
  }
  std::vector<LaunchId> path;
  for (LaunchId v = start; v >= 0; v = next[index(v)]) path.push_back(v);
  return path;
}

/// Maps partial order to intervals on a line through the longest path: launch i of the path sits at
/// 2i; another launch begins right after the latest path launch before it, and ends right before
/// the earliest one after it. Disjoint intervals imply a path of edges, never the other way round.
std::unique_ptr<Conflicts> path_conflicts(const std::vector<Item>& items,
                                          const std::vector<Edge>& edges, std::size_t launches) {
  const Successors successors(edges, launches);
  const std::vector<LaunchId> path = longest_path(successors, launches);
  std::vector<std::int64_t> begins(launches, -1);
  std::vector<std::int64_t> ends(launches, 2 * static_cast<std::int64_t>(path.size()) - 1);
  std::vector<bool> on_path(launches, false);
  for (std::size_t i = 0; i < path.size(); ++i) {
    on_path[index(path[i])] = true;
    begins[index(path[i])] = ends[index(path[i])] = 2 * static_cast<std::int64_t>(i);
  }
  for (std::size_t v = 0; v < launches; ++v) {
    for (const LaunchId* s = successors.begin(v); s != successors.end(v); ++s) {
      // Rounds down a path launch's 2i to 2i, then one past it; off-path launches hand on theirs.
      if (!on_path[index(*s)]) begins[index(*s)] = std::max(begins[index(*s)], begins[v] | 1);
    }
  }
  for (std::size_t v = launches; v-- > 0;) {
    if (on_path[v]) continue;
    for (const LaunchId* s = successors.begin(v); s != successors.end(v); ++s) {
      const std::int64_t end = ends[index(*s)];
      ends[v] = std::min(ends[v], end % 2 == 0 ? end - 1 : end);
    }
  }
  std::vector<std::int64_t> first;
  std::vector<std::int64_t> last;
  for (const Item& item : items) {
    first.push_back(begins[index(item.lifetime.first)]);
    std::int64_t end = first.back();
    for (const LaunchId sink : item.lifetime.sinks) end = std::max(end, ends[index(sink)]);
    last.push_back(end);
  }
  return interval_conflicts(std::move(first), std::move(last));
}

}  // namespace

std::unique_ptr<Conflicts> interval_conflicts(std::vector<std::int64_t> first,
                                              std::vector<std::int64_t> last) {
  return std::make_unique<IntervalConflicts>(std::move(first), std::move(last));
}

std::unique_ptr<Conflicts> sequential_conflicts(const std::vector<Item>& items) {
  std::vector<std::int64_t> first;
  std::vector<std::int64_t> last;
  for (const Item& item : items) {
    first.push_back(item.lifetime.first);
    last.push_back(item.lifetime.last);
  }
  return interval_conflicts(std::move(first), std::move(last));
}

std::unique_ptr<Conflicts> concurrent_conflicts(const std::vector<Item>& items,
                                                const std::vector<Edge>& edges,
                                                std::size_t launches, std::size_t exact_limit) {
  if (items.size() > exact_limit) return path_conflicts(items, edges, launches);
  return std::make_unique<MatrixConflicts>(items, edges, launches);
}

}  // namespace monograph::plan
