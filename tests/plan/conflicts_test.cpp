// Which items may share bytes, against the definition: all accesses of the one reach the first
// access of the other.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "runtime/plan/internal.h"
#include "runtime/plan/packing.h"
#include "tests/plan/problems.h"

namespace monograph::plan {
namespace {

struct Case {
  Problem problem;
  std::vector<Edge> edges;
  std::vector<Item> items;
  std::vector<std::vector<LaunchId>> touched_by;  ///< by item
};

Case random_case(const std::string& family, std::mt19937_64& random) {
  Case c;
  c.problem = testing::random_problem(family, random);
  const Dependencies dependencies = find_dependencies(c.problem);
  c.edges = reduce(dependencies);
  for (const Buffer& b : c.problem.buffers) {
    const Lifetime& life = dependencies.lifetimes[static_cast<std::size_t>(b.id)];
    if (b.kind != BufferKind::kIntermediate || b.bytes == 0 || life.first < 0) continue;
    c.items.push_back({b.id, -1, round_up(b.bytes), life});
    std::set<LaunchId> touched;
    for (const Launch& l : c.problem.launches) {
      for (const auto* ids : {&l.reads, &l.writes}) {
        if (std::find(ids->begin(), ids->end(), b.id) != ids->end()) touched.insert(l.id);
      }
    }
    c.touched_by.emplace_back(touched.begin(), touched.end());
  }
  return c;
}

std::vector<std::vector<bool>> reachability(const Case& c) {
  const std::size_t n = c.problem.launches.size();
  std::vector<std::vector<bool>> reach(n, std::vector<bool>(n, false));
  for (const Edge& e : c.edges) {
    reach[static_cast<std::size_t>(e.from)][static_cast<std::size_t>(e.to)] = true;
  }
  for (std::size_t k = 0; k < n; ++k) {
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        if (reach[i][k] && reach[k][j]) reach[i][j] = true;
      }
    }
  }
  return reach;
}

/// Pairs (a, b) of items, a < b, that must not share bytes.
using Pairs = std::set<std::pair<std::size_t, std::size_t>>;

Pairs true_conflicts(const Case& c) {
  const auto reach = reachability(c);
  const auto precedes = [&](std::size_t a, std::size_t b) {
    for (const LaunchId x : c.touched_by[a]) {
      for (const LaunchId y : c.touched_by[b]) {
        if (!reach[static_cast<std::size_t>(x)][static_cast<std::size_t>(y)]) return false;
      }
    }
    return true;
  };
  Pairs pairs;
  for (std::size_t b = 0; b < c.items.size(); ++b) {
    for (std::size_t a = 0; a < b; ++a) {
      if (!precedes(a, b) && !precedes(b, a)) pairs.insert({a, b});
    }
  }
  return pairs;
}

/// The limited and the filtering form say the same as the plain one, for items before `item`.
void expect_consistent(const Conflicts& conflicts, std::int32_t item,
                       std::vector<std::int32_t> found) {
  std::vector<std::int32_t> earlier(static_cast<std::size_t>(item));
  std::iota(earlier.begin(), earlier.end(), 0);
  std::vector<std::int32_t> filtered;
  conflicts.filter(item, earlier, filtered);
  std::sort(found.begin(), found.end());
  EXPECT_EQ(filtered, found);
  if (found.empty()) return;
  std::vector<std::int32_t> limited;
  EXPECT_TRUE(conflicts.placed_conflicts(item, found.size(), limited));
  limited.clear();
  EXPECT_FALSE(conflicts.placed_conflicts(item, found.size() - 1, limited));
}

Pairs listed(const Case& c, Conflicts& conflicts) {
  Pairs pairs;
  conflicts.clear();
  for (std::size_t b = 0; b < c.items.size(); ++b) {
    std::vector<std::int32_t> found;
    EXPECT_TRUE(conflicts.placed_conflicts(static_cast<std::int32_t>(b), b, found));
    expect_consistent(conflicts, static_cast<std::int32_t>(b), found);
    for (const std::int32_t a : found) {
      EXPECT_TRUE(pairs.insert({static_cast<std::size_t>(a), b}).second) << "listed twice";
    }
    conflicts.set_placed(static_cast<std::int32_t>(b));
  }
  return pairs;
}

class ConflictsOf : public ::testing::TestWithParam<std::string> {};

TEST_P(ConflictsOf, MatrixIsExact) {
  std::mt19937_64 random(31);
  for (int i = 0; i < 150; ++i) {
    const Case c = random_case(GetParam(), random);
    const auto conflicts =
        concurrent_conflicts(c.items, c.edges, c.problem.launches.size(), c.items.size());
    EXPECT_EQ(listed(c, *conflicts), true_conflicts(c));
  }
}

TEST_P(ConflictsOf, PathIntervalsMissNone) {
  std::mt19937_64 random(32);
  std::size_t listed_count = 0;
  std::size_t all_count = 0;
  for (int i = 0; i < 150; ++i) {
    const Case c = random_case(GetParam(), random);
    const auto conflicts = concurrent_conflicts(c.items, c.edges, c.problem.launches.size(), 0);
    if (c.items.empty()) continue;
    const Pairs approximate = listed(c, *conflicts);
    const Pairs exact = true_conflicts(c);
    EXPECT_TRUE(std::includes(approximate.begin(), approximate.end(), exact.begin(), exact.end()));
    listed_count += approximate.size();
    all_count += c.items.size() * (c.items.size() - 1) / 2;
    if (GetParam() == "chain") {
      EXPECT_EQ(approximate, exact);
    }
  }
  if (GetParam() == "diamond") {
    EXPECT_LT(listed_count * 2, all_count) << "hardly better than none";
  }
}

TEST_P(ConflictsOf, SequentialIsOverlapInTime) {
  std::mt19937_64 random(33);
  for (int i = 0; i < 150; ++i) {
    const Case c = random_case(GetParam(), random);
    Pairs expected;
    for (std::size_t b = 0; b < c.items.size(); ++b) {
      for (std::size_t a = 0; a < b; ++a) {
        const Lifetime& x = c.items[a].lifetime;
        const Lifetime& y = c.items[b].lifetime;
        if (x.first <= y.last && y.first <= x.last) expected.insert({a, b});
      }
    }
    EXPECT_EQ(listed(c, *sequential_conflicts(c.items)), expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, ConflictsOf, ::testing::ValuesIn(testing::families()),
                         [](const auto& family) { return family.param; });

/// More than 64 items, so that the matrix has blocks off the diagonal.
TEST(Conflicts, MatrixMatchesIntervalsOnALongChain) {
  std::vector<Item> items;
  std::vector<Edge> edges;
  for (LaunchId l = 0; l < 300; ++l) {
    if (l > 0) edges.push_back({l - 1, l});
    items.push_back({l, -1, kAlignment, {l, std::min(l + l % 7, 299), {std::min(l + l % 7, 299)}}});
  }
  const auto matrix = concurrent_conflicts(items, edges, 300, 300);
  const auto intervals = sequential_conflicts(items);
  for (std::int32_t i = 299; i >= 0; --i) {
    std::vector<std::int32_t> a;
    std::vector<std::int32_t> b;
    matrix->placed_conflicts(i, 300, a);
    intervals->placed_conflicts(i, 300, b);
    std::sort(a.begin(), a.end());
    std::sort(b.begin(), b.end());
    EXPECT_EQ(a, b);
    matrix->set_placed(i);
    intervals->set_placed(i);
  }
}

}  // namespace
}  // namespace monograph::plan
