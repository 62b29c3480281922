// How good packing is: against the bound on realistic graphs, against the optimum on tiny ones.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "runtime/plan/plan.h"
#include "tests/plan/problems.h"

namespace monograph::plan {
namespace {

using testing::Builder;

double ratio(const Plan& plan) {
  return static_cast<double>(plan.arena_bytes) / static_cast<double>(plan.lower_bound_bytes);
}

TEST(Packing, TransformersAreWithinFivePercentOfTheBound) {
  struct Shape {
    int layers;
    std::int64_t tokens, hidden, ffn;
  };
  for (const Shape& s :
       {Shape{6, 8, 384, 1536}, Shape{6, 32, 384, 1536}, Shape{6, 128, 384, 1536},
        Shape{12, 512, 768, 3072}, Shape{24, 37, 1024, 2816}, Shape{1, 4, 64, 256}}) {
    const Problem problem = testing::transformer(s.layers, s.tokens, s.hidden, s.ffn);
    const Plan plan = make_plan(problem);
    check_plan(plan);
    EXPECT_LE(ratio(plan), 1.05) << s.layers << " layers, " << s.tokens << " tokens";
    const Plan graph = make_plan(problem, Concurrency::kGraph);
    check_plan(graph);
    EXPECT_LE(ratio(graph), 1.10) << s.layers << " layers, " << s.tokens << " tokens";
  }
}

/// The least arena over all orders of placing each item as low as it goes. Some order gives the
/// optimum: the items of an optimal packing by offset.
std::int64_t optimum(const std::vector<Placement>& items) {
  std::vector<std::size_t> order(items.size());
  std::iota(order.begin(), order.end(), 0);
  std::int64_t best = -1;
  do {
    std::vector<std::int64_t> offsets(items.size(), 0);
    std::int64_t top = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
      const Placement& p = items[order[i]];
      std::int64_t offset = 0;
      for (std::size_t retry = 0; retry < i; ++retry) {
        for (std::size_t j = 0; j < i; ++j) {
          const Placement& q = items[order[j]];
          const bool live = p.first <= q.last && q.first <= p.last;
          const bool share =
              offset < offsets[order[j]] + q.bytes && offsets[order[j]] < offset + p.bytes;
          if (live && share) offset = offsets[order[j]] + q.bytes;
        }
      }
      offsets[order[i]] = offset;
      top = std::max(top, offset + p.bytes);
    }
    if (best < 0 || top < best) best = top;
  } while (std::next_permutation(order.begin(), order.end()));
  return best;
}

/// Independent intervals: item i is written at launch a and read at launch b.
Problem random_intervals(std::mt19937_64& random, int items, int launches) {
  Builder b;
  struct Use {
    BufferId id;
    int first, last;
  };
  std::vector<Use> uses;
  for (int i = 0; i < items; ++i) {
    const int x = static_cast<int>(random() % static_cast<std::uint64_t>(launches));
    const int y = static_cast<int>(random() % static_cast<std::uint64_t>(launches));
    const auto bytes = static_cast<std::int64_t>(1 + random() % 8) * kAlignment;
    uses.push_back({b.intermediate(bytes), std::min(x, y), std::max(x, y)});
  }
  for (int l = 0; l < launches; ++l) {
    std::vector<BufferId> reads;
    std::vector<BufferId> writes;
    for (const Use& u : uses) {
      if (u.first == l) writes.push_back(u.id);
      if (u.last == l && u.first != l) reads.push_back(u.id);
    }
    b.launch(reads, writes);
  }
  return b.take();
}

TEST(Packing, TinyProblemsArePackedOptimally) {
  std::mt19937_64 random(41);
  int optimal = 0;
  constexpr int kProblems = 300;
  for (int i = 0; i < kProblems; ++i) {
    const Plan plan = make_plan(random_intervals(random, 6, 6));
    const std::int64_t best = optimum(plan.placements);
    ASSERT_LE(plan.lower_bound_bytes, best) << text(plan);
    ASSERT_GE(plan.arena_bytes, best) << text(plan);
    optimal += plan.arena_bytes == best ? 1 : 0;
  }
  EXPECT_EQ(optimal, kProblems);
}

TEST(Packing, MediumRandomIntervalsStayNearTheBound) {
  std::mt19937_64 random(42);
  double worst = 1;
  double sum = 0;
  constexpr int kProblems = 50;
  for (int i = 0; i < kProblems; ++i) {
    const Plan plan = make_plan(random_intervals(random, 60, 40));
    worst = std::max(worst, ratio(plan));
    sum += ratio(plan);
  }
  RecordProperty("mean_ratio", std::to_string(sum / kProblems));
  RecordProperty("worst_ratio", std::to_string(worst));
  EXPECT_LE(worst, 1.08);
  EXPECT_LE(sum / kProblems, 1.01);
}

/// Sizes that aren't multiples of the alignment cost at most the rounding.
TEST(Packing, BoundCountsUnroundedBytes) {
  Builder b;
  const BufferId in = b.input(4);
  const BufferId x = b.intermediate(1);
  const BufferId y = b.intermediate(257);
  b.launch({in}, {x});
  b.launch({in}, {y}, 3);
  b.launch({x, y}, {b.output(4)});
  const Plan plan = make_plan(b.take());
  EXPECT_EQ(plan.lower_bound_bytes, 1 + 257 + 3);
  EXPECT_EQ(plan.arena_bytes, 256 + 512 + 256);
}

}  // namespace
}  // namespace monograph::plan
