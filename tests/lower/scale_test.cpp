// Cost of lowering and planning large graphs. Limits are generous: they catch quadratic growth.
#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <iostream>
#include <vector>

#include "runtime/lower/lower.h"
#include "tests/lower/graphs.h"

namespace monograph::lower {
namespace {

/// Sanitizers and builds without optimisation get smaller graphs: they look for other faults.
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
constexpr int kNodes = 10000;
constexpr double kNoiseMs = 5;
#else
constexpr int kNodes = 1000;
constexpr double kNoiseMs = 100;
#endif

/// Fastest of five, in milliseconds of processor time: what other processes do adds little.
double lower_and_plan_ms(const ir::Graph& graph, plan::Concurrency mode) {
  std::vector<double> times;
  for (int i = 0; i < 5; ++i) {
    const std::clock_t start = std::clock();
    const plan::Plan plan = plan::make_plan(lower(graph, {}).problem, mode);
    const std::clock_t end = std::clock();
    EXPECT_LE(static_cast<double>(plan.arena_bytes),
              1.05 * static_cast<double>(plan.lower_bound_bytes));
    times.push_back(1000.0 * static_cast<double>(end - start) / CLOCKS_PER_SEC);
  }
  return *std::min_element(times.begin(), times.end());
}

TEST(Scale, ManyNodesLowerAndPlanBelowASecond) {
  const ir::Graph once = testing::encoder_graph(kNodes);
  const ir::Graph twice = testing::encoder_graph(2 * kNodes);
  ASSERT_GT(once.size() + 100, static_cast<std::size_t>(kNodes));
  ASSERT_GT(twice.size() + 100, static_cast<std::size_t>(2 * kNodes));
  for (const auto mode : {plan::Concurrency::kSequential, plan::Concurrency::kGraph}) {
    const double small = lower_and_plan_ms(once, mode);
    const double large = lower_and_plan_ms(twice, mode);
    std::cout << (mode == plan::Concurrency::kGraph ? "graph" : "sequential") << ": " << once.size()
              << " nodes " << small << " ms, " << twice.size() << " nodes " << large
              << " ms, ratio " << large / small << "\n";
    EXPECT_LT(small, 1000);
    EXPECT_LT(large, 3 * small + kNoiseMs);
  }
}

}  // namespace
}  // namespace monograph::lower
