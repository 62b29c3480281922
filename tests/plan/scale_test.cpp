// Cost on large problems. Limits are generous: they catch quadratic growth, not slow machines.
#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <iostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "runtime/plan/plan.h"
#include "tests/plan/problems.h"
#include "tests/plan/simulator.h"

namespace monograph::plan {
namespace {

/// Sanitizers and builds without optimisation get smaller problems: they look for other faults.
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
constexpr int kLaunches = 10000;
#else
constexpr int kLaunches = 2500;  // beyond the size at which packing searches
#endif

/// Fastest of some runs, in milliseconds of processor time: what other processes do adds little.
double planning_ms(const Problem& problem, Concurrency mode, int runs, Plan* result = nullptr) {
  std::vector<double> times;
  for (int i = 0; i < runs; ++i) {
    Problem copy = problem;
    const std::clock_t start = std::clock();
    Plan plan = make_plan(std::move(copy), mode);
    const std::clock_t end = std::clock();
    EXPECT_GE(plan.arena_bytes, plan.lower_bound_bytes);
    times.push_back(1000.0 * static_cast<double>(end - start) / CLOCKS_PER_SEC);
    if (result != nullptr) *result = std::move(plan);
  }
  return *std::min_element(times.begin(), times.end());
}

Problem independent(int launches) {
  testing::Builder b;
  const BufferId in = b.input(64);
  std::vector<BufferId> results;
  for (int i = 0; i < launches; ++i) {
    results.push_back(b.intermediate(256 * (1 + i % 7)));
    b.launch({in}, {results.back()});
  }
  b.launch(results, {b.output(64)});
  return b.take();
}

class Scale : public ::testing::TestWithParam<Concurrency> {};

TEST_P(Scale, ManyLaunchesPlanWellBelowASecond) {
  const std::vector<std::pair<std::string, Problem>> problems{
      {"synthetic, fan-in 4, window 20", testing::synthetic(kLaunches, 4, 20, 1)},
      {"synthetic, fan-in 3, window a fifth of all",
       testing::synthetic(kLaunches, 3, kLaunches / 5, 2)},
      {"transformer", testing::transformer(kLaunches / 12, 128, 384, 1536)},
      {"independent launches, one join", independent(kLaunches)},
  };
  for (const auto& [name, problem] : problems) {
    Plan plan;
    const double ms = planning_ms(problem, GetParam(), 3, &plan);
    std::cout << name << ": " << problem.launches.size() << " launches, " << plan.edges.size()
              << " edges, " << ms << " ms, arena/bound "
              << static_cast<double>(plan.arena_bytes) / static_cast<double>(plan.lower_bound_bytes)
              << "\n";
    EXPECT_LT(ms, 1000) << name;
  }
}

TEST_P(Scale, TwiceTheLaunchesCostAboutTwiceTheTime) {
  const double small = planning_ms(testing::synthetic(kLaunches, 4, 20, 3), GetParam(), 5);
  const double large = planning_ms(testing::synthetic(2 * kLaunches, 4, 20, 3), GetParam(), 5);
  std::cout << kLaunches << " launches: " << small << " ms, twice as many: " << large
            << " ms, ratio " << large / small << "\n";
  EXPECT_LT(large, 3 * small + 5);
}

TEST_P(Scale, LargePlansPassTheCheck) {
  for (const Problem& problem :
       {testing::synthetic(kLaunches / 4, 4, 20, 4),
        testing::synthetic(kLaunches / 4, 4, kLaunches / 10, 5),
        testing::transformer(kLaunches / 50, 16, 64, 256), independent(kLaunches / 10)}) {
    EXPECT_NO_THROW(check_plan(make_plan(problem, GetParam())));
  }
}

/// Beyond the limit of the exact conflict matrix; too large for the brute-force check.
TEST(Scale, VeryLargeGraphPlansRunInAnyOrder) {
  constexpr int kMany = 18000;
  const Plan plan = make_plan(testing::synthetic(kMany, 3, 20, 6), Concurrency::kGraph);
  std::cout << "arena/bound "
            << static_cast<double>(plan.arena_bytes) / static_cast<double>(plan.lower_bound_bytes)
            << "\n";
  std::mt19937_64 random(61);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(testing::simulate(plan, testing::random_schedule(plan, random)), "");
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, Scale,
                         ::testing::Values(Concurrency::kSequential, Concurrency::kGraph),
                         [](const auto& mode) {
                           return mode.param == Concurrency::kGraph ? "Graph" : "Sequential";
                         });

}  // namespace
}  // namespace monograph::plan
