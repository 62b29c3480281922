// The oracle itself: it accepts good plans (property_test.cpp) and catches each way of being wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/error.h>

#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "runtime/plan/plan.h"
#include "tests/plan/problems.h"

namespace monograph::plan {
namespace {

using testing::Builder;
using ::testing::HasSubstr;

Plan sample(Concurrency mode) {
  Builder b;
  const BufferId in = b.input(100);
  const BufferId w = b.weight(100);
  const BufferId left = b.intermediate(1000);
  const BufferId right = b.intermediate(3000);
  const BufferId joined = b.intermediate(500);
  b.launch({in, w}, {left}, 700);
  b.launch({in, w}, {right}, 700);
  b.launch({left, right}, {joined});
  b.launch({joined}, {b.output(500)}, 64);
  Plan plan = make_plan(b.take(), mode);
  check_plan(plan);
  return plan;
}

void expect_caught(const std::function<void(Plan&)>& spoil, const std::string& message,
                   Concurrency mode = Concurrency::kGraph) {
  Plan plan = sample(mode);
  spoil(plan);
  try {
    check_plan(plan);
    FAIL() << "not caught: " << message;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kInternal);
    EXPECT_THAT(e.what(), HasSubstr(message));
  }
}

Placement& placement(Plan& plan, BufferId buffer, LaunchId launch = -1) {
  for (Placement& p : plan.placements) {
    if (p.buffer == buffer && p.launch == launch) return p;
  }
  throw std::out_of_range("no such placement");
}

TEST(CheckPlan, CatchesEdgeFaults) {
  // Edges: 0->2, 1->2, 2->3.
  expect_caught([](Plan& p) { p.edges.erase(p.edges.begin()); },
                "missing edge: launch 2 'launch_2' must wait for launch 0 'launch_0' because of "
                "buffer 2 't2'");
  expect_caught([](Plan& p) { p.edges.insert(p.edges.begin(), {0, 1}); }, "needless edge");
  expect_caught([](Plan& p) { p.edges.push_back({3, 2}); }, "doesn't lead forward");
  expect_caught([](Plan& p) { p.edges.push_back({2, 4}); }, "doesn't lead forward");
  expect_caught([](Plan& p) { std::swap(p.edges[0], p.edges[1]); }, "edges aren't sorted");
  expect_caught([](Plan& p) { p.edges.push_back(p.edges.back()); }, "edges aren't sorted");
}

TEST(CheckPlan, CatchesImpliedEdges) {
  Builder b;
  const BufferId x = b.intermediate(4);
  const BufferId y = b.intermediate(4);
  b.launch({}, {x});
  b.launch({x}, {y});
  b.launch({x, y}, {});
  Plan plan = make_plan(b.take());
  plan.edges = {{0, 1}, {0, 2}, {1, 2}};
  try {
    check_plan(plan);
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("edge implied by others: launch 0 'launch_0' -> launch 2"));
  }
}

TEST(CheckPlan, CatchesPlacementFaults) {
  expect_caught([](Plan& p) { placement(p, 2).offset += 128; }, "isn't aligned");
  expect_caught([](Plan& p) { placement(p, 2).offset -= 256 * 100; }, "isn't aligned");
  expect_caught([](Plan& p) { placement(p, 2).bytes += 256; }, "wrong size");
  expect_caught([](Plan& p) { placement(p, 2).bytes -= 256; }, "wrong size");
  expect_caught([](Plan& p) { placement(p, 2).offset = p.arena_bytes; }, "sticks out of the arena");
  expect_caught([](Plan& p) { placement(p, 2).first = 1; }, "wrong lifetime");
  expect_caught([](Plan& p) { placement(p, 2).last = 3; }, "wrong lifetime");
  expect_caught([](Plan& p) { std::erase(p.placements, placement(p, 2)); },
                "buffer 2 lacks its placement");
  expect_caught([](Plan& p) { std::erase(p.placements, placement(p, -1, 0)); },
                "the workspace of launch 0 'launch_0' lacks its placement");
  expect_caught([](Plan& p) { p.placements.push_back(p.placements.back()); }, "not distinct");
  expect_caught([](Plan& p) { placement(p, 4).buffer = 5; }, "isn't for the arena");
  expect_caught([](Plan& p) { p.arena_bytes += 256; }, "the arena ends elsewhere");
  expect_caught([](Plan& p) { p.lower_bound_bytes += 1; }, "wrong lower bound");
}

TEST(CheckPlan, CatchesSharedBytes) {
  expect_caught([](Plan& p) { placement(p, 2).offset = placement(p, 3).offset; }, "overlap");
  expect_caught(
      [](Plan& p) { placement(p, -1, 0).offset = placement(p, -1, 1).offset; },
      "the workspace of launch 0 'launch_0' and the workspace of launch 1 'launch_1' overlap");
}

TEST(CheckPlan, CatchesSequentialLayoutUsedConcurrently) {
  // In sequence the two workspaces may share bytes and do; side by side they may not.
  Plan plan = sample(Concurrency::kSequential);
  plan.concurrency = Concurrency::kGraph;
  EXPECT_THROW(check_plan(plan), Error);
}

TEST(CheckPlan, CatchesSlotFaults) {
  expect_caught([](Plan& p) { p.problem.buffers[0].slot = 1; }, "wrong slot among the input");
  expect_caught([](Plan& p) { p.input_count = 2; }, "wrong input count");
  expect_caught([](Plan& p) { p.output_count = 0; }, "wrong output count");
  expect_caught([](Plan& p) { p.problem.buffers[0].id = 1; }, "buffer ids");
  expect_caught([](Plan& p) { p.problem.launches[0].id = 1; }, "launch ids");
}

/// Any two tenants that are alive at the same moment, put at the same place.
TEST(CheckPlan, CatchesAnyTwoLiveTenantsAtOnePlace) {
  std::mt19937_64 random(21);
  int moved = 0;
  for (int i = 0; i < 60; ++i) {
    const Plan plan = make_plan(testing::random_problem("mixed", random));
    for (std::size_t a = 0; a < plan.placements.size(); ++a) {
      for (std::size_t b = 0; b < a; ++b) {
        const Placement& p = plan.placements[a];
        const Placement& q = plan.placements[b];
        const bool both_live = p.first <= q.last && q.first <= p.last;
        if (p.bytes == 0 || q.bytes == 0 || !both_live) continue;
        Plan mutant = plan;
        mutant.placements[a].offset = q.offset;
        EXPECT_THROW(check_plan(mutant), Error) << text(mutant);
        ++moved;
      }
    }
  }
  EXPECT_GT(moved, 1000);
}

}  // namespace
}  // namespace monograph::plan
