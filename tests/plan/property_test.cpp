// Thousands of random problems: plans hold up against the brute-force check and against execution
// on pretend memory, and every single edge is needed.
#include <gtest/gtest.h>
#include <monograph/error.h>

#include <random>
#include <string>

#include "runtime/plan/plan.h"
#include "tests/plan/problems.h"
#include "tests/plan/simulator.h"

namespace monograph::plan {
namespace {

constexpr int kProblemsPerFamily = 400;

class RandomPlans : public ::testing::TestWithParam<std::string> {};

TEST_P(RandomPlans, SequentialPlansHoldUp) {
  std::mt19937_64 random(11);
  for (int i = 0; i < kProblemsPerFamily; ++i) {
    const Problem problem = testing::random_problem(GetParam(), random);
    const Plan plan = make_plan(problem);
    ASSERT_EQ(plan.problem, problem);
    ASSERT_NO_THROW(check_plan(plan)) << text(plan);
    ASSERT_EQ(testing::simulate(plan, testing::sequential_schedule(plan)), "") << text(plan);
  }
}

TEST_P(RandomPlans, GraphPlansHoldUpInAnyOrder) {
  std::mt19937_64 random(12);
  for (int i = 0; i < kProblemsPerFamily; ++i) {
    const Plan plan = make_plan(testing::random_problem(GetParam(), random), Concurrency::kGraph);
    ASSERT_NO_THROW(check_plan(plan)) << text(plan);
    ASSERT_EQ(testing::simulate(plan, testing::sequential_schedule(plan)), "") << text(plan);
    for (int order = 0; order < 5; ++order) {
      const testing::Schedule schedule = testing::random_schedule(plan, random);
      ASSERT_EQ(schedule.size(), 2 * plan.problem.launches.size());
      ASSERT_EQ(testing::simulate(plan, schedule), "") << text(plan);
    }
  }
}

TEST_P(RandomPlans, GraphNeverPacksTighterThanTheSequentialBound) {
  std::mt19937_64 random(13);
  for (int i = 0; i < kProblemsPerFamily; ++i) {
    const Problem problem = testing::random_problem(GetParam(), random);
    const Plan sequential = make_plan(problem);
    const Plan graph = make_plan(problem, Concurrency::kGraph);
    EXPECT_EQ(sequential.edges, graph.edges);
    EXPECT_EQ(sequential.lower_bound_bytes, graph.lower_bound_bytes);
    EXPECT_GE(sequential.arena_bytes, sequential.lower_bound_bytes);
    EXPECT_GE(graph.arena_bytes, graph.lower_bound_bytes);
  }
}

TEST_P(RandomPlans, TheSameProblemGivesTheSamePlan) {
  std::mt19937_64 random(14);
  for (int i = 0; i < 50; ++i) {
    const Problem problem = testing::random_problem(GetParam(), random);
    for (const auto mode : {Concurrency::kSequential, Concurrency::kGraph}) {
      EXPECT_EQ(make_plan(problem, mode), make_plan(problem, mode));
    }
  }
}

/// True if some buffer with contents orders the two launches; an order that only empty buffers
/// ask for can't be seen in memory.
bool visible_in_memory(const Problem& problem, const Edge& edge) {
  const Launch& a = problem.launches[static_cast<std::size_t>(edge.from)];
  const Launch& b = problem.launches[static_cast<std::size_t>(edge.to)];
  const auto touches = [&](const Launch& l, BufferId id, bool writes) {
    const auto& ids = writes ? l.writes : l.reads;
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  for (const Buffer& buffer : problem.buffers) {
    if (buffer.bytes == 0) continue;
    const bool a_writes = touches(a, buffer.id, true);
    const bool b_writes = touches(b, buffer.id, true);
    const bool a_touches = a_writes || touches(a, buffer.id, false);
    const bool b_touches = b_writes || touches(b, buffer.id, false);
    if (a_touches && b_touches && (a_writes || b_writes)) return true;
  }
  return false;
}

TEST_P(RandomPlans, RemovingAnyEdgeIsNoticed) {
  std::mt19937_64 random(15);
  int removed = 0;
  int seen_in_memory = 0;
  for (int i = 0; i < 60; ++i) {
    const Plan plan = make_plan(testing::random_problem(GetParam(), random), Concurrency::kGraph);
    for (const Edge& edge : plan.edges) {
      Plan mutant = plan;
      std::erase(mutant.edges, edge);
      ++removed;
      EXPECT_THROW(check_plan(mutant), Error) << edge.from << "->" << edge.to << text(plan);
      bool noticed = false;
      for (const testing::Schedule& schedule : testing::hostile_schedules(plan, edge)) {
        noticed = noticed || !testing::simulate(mutant, schedule).empty();
      }
      seen_in_memory += noticed ? 1 : 0;
      EXPECT_TRUE(noticed || !visible_in_memory(plan.problem, edge))
          << edge.from << "->" << edge.to << text(plan);
    }
  }
  EXPECT_GT(removed, 100);
  EXPECT_GT(seen_in_memory, removed / 2);
}

/// Random orders alone, without knowing which edge is gone, find most of them too.
TEST_P(RandomPlans, RandomOrdersNoticeMostMissingEdges) {
  std::mt19937_64 random(16);
  int visible = 0;
  int noticed = 0;
  for (int i = 0; i < 20; ++i) {
    const Plan plan = make_plan(testing::random_problem(GetParam(), random), Concurrency::kGraph);
    for (const Edge& edge : plan.edges) {
      if (!visible_in_memory(plan.problem, edge)) continue;
      Plan mutant = plan;
      std::erase(mutant.edges, edge);
      ++visible;
      bool wrong = false;
      for (int order = 0; order < 100 && !wrong; ++order) {
        wrong = !testing::simulate(mutant, testing::random_schedule(mutant, random)).empty();
      }
      noticed += wrong ? 1 : 0;
    }
  }
  EXPECT_GT(noticed * 10, visible * 8);
}

INSTANTIATE_TEST_SUITE_P(Families, RandomPlans, ::testing::ValuesIn(testing::families()),
                         [](const auto& family) { return family.param; });

}  // namespace
}  // namespace monograph::plan
