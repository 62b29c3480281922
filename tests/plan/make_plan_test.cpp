#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/error.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <string>

#include "runtime/plan/plan.h"
#include "tests/plan/problems.h"

namespace monograph::plan {
namespace {

using testing::Builder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// The error that planning `problem` ends in.
void expect_refused(const Problem& problem, const std::string& message,
                    const std::string& node = {}) {
  for (const auto mode : {Concurrency::kSequential, Concurrency::kGraph}) {
    try {
      make_plan(problem, mode);
      FAIL() << "planned although " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kInvalidGraph);
      EXPECT_THAT(e.what(), HasSubstr(message));
      EXPECT_EQ(e.node(), node);
    }
  }
}

TEST(Edges, ReadAfterWrite) {
  Builder b;
  const BufferId t = b.intermediate(100);
  b.launch({}, {t});
  b.launch({t}, {});
  EXPECT_THAT(make_plan(b.take()).edges, ElementsAre(Edge{0, 1}));
}

TEST(Edges, WriteAfterReadAndWriteAfterWrite) {
  Builder b;
  const BufferId state = b.state(100);
  b.launch({state}, {});
  b.launch({state}, {});
  b.launch({}, {state});
  b.launch({}, {state});
  EXPECT_THAT(make_plan(b.take()).edges, ElementsAre(Edge{0, 2}, Edge{1, 2}, Edge{2, 3}));
}

TEST(Edges, ReadersOfInputsAndWeightsWaitForNobody) {
  Builder b;
  const BufferId in = b.input(100);
  const BufferId w = b.weight(100);
  b.launch({in, w}, {});
  b.launch({in, w}, {});
  EXPECT_THAT(make_plan(b.take()).edges, IsEmpty());
}

TEST(Edges, InPlaceUpdateWaitsForWriterAndReaders) {
  Builder b;
  const BufferId t = b.intermediate(100);
  const BufferId out = b.output(100);
  b.launch({}, {t});
  b.launch({t}, {out});
  b.launch({t}, {t});
  b.launch({t, out}, {out});
  EXPECT_THAT(make_plan(b.take()).edges, ElementsAre(Edge{0, 1}, Edge{1, 2}, Edge{2, 3}));
}

TEST(Edges, ImpliedOnesAreLeftOut) {
  Builder b;
  const BufferId x = b.intermediate(1);
  const BufferId y = b.intermediate(1);
  const BufferId z = b.intermediate(1);
  b.launch({}, {x});
  b.launch({x}, {y});
  b.launch({x, y}, {z});
  b.launch({x, y, z}, {});
  EXPECT_THAT(make_plan(b.take()).edges, ElementsAre(Edge{0, 1}, Edge{1, 2}, Edge{2, 3}));
}

/// Ancestor rows are cut at full words and freed early; long graphs cross those boundaries.
TEST(Edges, ImpliedOnesAreLeftOutAcrossLongDistances) {
  Builder b;
  const BufferId mask = b.intermediate(4);
  const BufferId side = b.intermediate(4);
  b.launch({}, {mask});
  b.launch({}, {side});
  BufferId last = b.intermediate(4);
  b.launch({mask}, {last});
  for (int i = 0; i < 500; ++i) {
    const BufferId next = b.intermediate(4);
    b.launch({last, mask}, {next});
    last = next;
  }
  b.launch({last, mask, side}, {b.output(4)});
  const Plan plan = make_plan(b.take());
  ASSERT_EQ(plan.edges.size(), 503U);  // the chain of 503 launches behind `mask`, and `side`
  EXPECT_EQ(plan.edges.front(), (Edge{0, 2}));
  EXPECT_EQ(plan.edges[501], (Edge{1, 503}));
  EXPECT_EQ(plan.edges[502], (Edge{502, 503}));
}

TEST(Arena, EmptyProblem) {
  const Plan plan = make_plan({});
  EXPECT_EQ(plan.arena_bytes, 0);
  EXPECT_EQ(plan.lower_bound_bytes, 0);
  EXPECT_THAT(plan.placements, IsEmpty());
  EXPECT_NO_THROW(check_plan(plan));
}

TEST(Arena, ChainUsesTwoPlaces) {
  Builder b;
  BufferId last = b.input(1024);
  for (int i = 0; i < 10; ++i) {
    const BufferId next = b.intermediate(1024);
    b.launch({last}, {next});
    last = next;
  }
  for (const auto mode : {Concurrency::kSequential, Concurrency::kGraph}) {
    const Plan plan = make_plan(b.problem(), mode);
    EXPECT_EQ(plan.arena_bytes, 2048);
    EXPECT_EQ(plan.lower_bound_bytes, 2048);
  }
}

TEST(Arena, BranchesShareOnlyIfOneAfterTheOther) {
  Builder b;
  const BufferId in = b.input(1024);
  std::vector<BufferId> ends;
  for (int arm = 0; arm < 2; ++arm) {
    const BufferId big = b.intermediate(8192);
    ends.push_back(b.intermediate(256));
    b.launch({in}, {big});
    b.launch({big}, {ends.back()});
  }
  b.launch(ends, {b.output(1)});
  EXPECT_EQ(make_plan(b.problem()).arena_bytes, 8192 + 512);
  EXPECT_EQ(make_plan(b.problem(), Concurrency::kGraph).arena_bytes, 2 * 8192 + 512);
}

TEST(Arena, WorkspacesLiveForOneLaunch) {
  Builder b;
  const BufferId in = b.input(4);
  const BufferId t = b.intermediate(300);
  b.launch({in}, {t}, 1000);
  b.launch({t}, {b.output(4)}, 2000);
  const Plan plan = make_plan(b.problem());
  EXPECT_EQ(plan.lower_bound_bytes, 2300);
  EXPECT_EQ(plan.arena_bytes, 512 + 2048);
  EXPECT_NE(plan.offset_of(t), plan.workspace_offset_of(0));
  ASSERT_EQ(plan.placements.size(), 3U);
  EXPECT_EQ(plan.placements[0].launch, 0);
  EXPECT_EQ(plan.placements[1].launch, 1);
  EXPECT_EQ(plan.placements[2].buffer, t);
}

TEST(Arena, WorkspacesOfConcurrentLaunchesAreApart) {
  Builder b;
  b.launch({b.input(4)}, {b.output(4)}, 1024);
  b.launch({b.input(4)}, {b.output(4)}, 1024);
  EXPECT_EQ(make_plan(b.problem()).arena_bytes, 1024);
  EXPECT_EQ(make_plan(b.problem(), Concurrency::kGraph).arena_bytes, 2048);
}

TEST(Arena, DeadWritesOccupyTheirLaunch) {
  Builder b;
  const BufferId in = b.input(4);
  const BufferId dead = b.intermediate(1024);
  const BufferId used = b.intermediate(1024);
  b.launch({in}, {dead, used});
  b.launch({used}, {b.output(4)}, 1024);
  const Plan plan = make_plan(b.take());
  EXPECT_EQ(plan.arena_bytes, 2048);
  EXPECT_NE(plan.offset_of(dead), plan.offset_of(used));
  EXPECT_EQ(plan.offset_of(dead), plan.workspace_offset_of(1));
}

TEST(Arena, EmptyBuffersHaveAPlaceButNoBytes) {
  Builder b;
  const BufferId empty = b.intermediate(0);
  b.launch({}, {empty});
  b.launch({empty}, {b.output(0)});
  const Plan plan = make_plan(b.take());
  EXPECT_EQ(plan.arena_bytes, 0);
  EXPECT_EQ(plan.offset_of(empty), 0);
  EXPECT_THAT(plan.edges, ElementsAre(Edge{0, 1}));
}

TEST(Arena, OnlyTouchedIntermediatesArePlaced) {
  Builder b;
  const BufferId in = b.input(4);
  const BufferId untouched = b.intermediate(4);
  b.launch({in}, {b.output(4)});
  const Plan plan = make_plan(b.take());
  for (const BufferId id : {in, untouched, 99, -1}) {
    try {
      plan.offset_of(id);
      FAIL() << id;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kInternal);
    }
  }
  EXPECT_THROW(plan.workspace_offset_of(0), Error);
  EXPECT_EQ(plan.input_count, 1);
  EXPECT_EQ(plan.output_count, 1);
}

TEST(Arena, HugeSizesNeedNoMemoryHere) {
  Builder b;
  constexpr std::int64_t kHuge = std::int64_t{1} << 58;
  const BufferId x = b.intermediate(kHuge);
  const BufferId y = b.intermediate(kHuge);
  b.launch({}, {x});
  b.launch({x}, {y});
  b.launch({y}, {});
  const Plan plan = make_plan(b.take());
  EXPECT_EQ(plan.arena_bytes, 2 * kHuge);
  EXPECT_NO_THROW(check_plan(plan));
}

TEST(Refusals, ReadBeforeWrite) {
  Builder b;
  b.launch({b.intermediate(4)}, {});
  expect_refused(b.take(), "reads buffer 0 't0', which nothing wrote before", "launch_0");
  Builder c;
  const BufferId out = c.output(4);
  c.launch({out}, {out});
  expect_refused(c.take(), "reads buffer 0 'out0', which nothing wrote before", "launch_0");
}

TEST(Refusals, WritesToInputsAndWeights) {
  Builder b;
  b.launch({}, {b.input(4)});
  expect_refused(b.take(), "writes buffer 0 'in0', which is of kind input", "launch_0");
  Builder c;
  c.launch({}, {c.weight(4)});
  expect_refused(c.take(), "writes buffer 0 'w0', which is of kind weight", "launch_0");
}

TEST(Refusals, UnwrittenOutput) {
  Builder b;
  b.output(4);
  expect_refused(b.take(), "buffer 0 'out0' is output 0 but nothing writes it");
}

TEST(Refusals, IdsAndSlots) {
  const auto refused = [](const std::function<void(Problem&)>& spoil, const std::string& message,
                          const std::string& node = {}) {
    Builder b;
    const BufferId in = b.input(4);
    b.input(4);
    const BufferId t = b.intermediate(4);
    b.launch({in}, {t});
    b.launch({in, t}, {b.output(4)});
    make_plan(b.problem());
    spoil(b.problem());
    expect_refused(b.problem(), message, node);
  };
  refused([](Problem& p) { p.buffers[2].id = 7; }, "buffer 7 't2' is at position 2");
  refused([](Problem& p) { p.launches[1].id = 0; }, "launch 0 is at position 1", "launch_1");
  refused([](Problem& p) { p.launches[0].reads = {9}; }, "reads buffer 9, which doesn't exist",
          "launch_0");
  refused([](Problem& p) { p.launches[0].reads = {-1}; }, "reads buffer -1", "launch_0");
  refused([](Problem& p) { p.launches[0].writes = {2, 2}; }, "distinct and ascending", "launch_0");
  refused([](Problem& p) { p.launches[1].reads = {2, 0}; }, "distinct and ascending", "launch_1");
  refused([](Problem& p) { p.buffers[1].slot = 0; }, "has slot 0, which is taken");
  refused([](Problem& p) { p.buffers[1].slot = 2; }, "has slot 2 but there are 2 input buffers");
  refused([](Problem& p) { p.buffers[0].slot = -1; }, "has slot -1");
  refused([](Problem& p) { p.buffers[2].slot = 0; }, "is no input or output but has a slot");
  refused([](Problem& p) { p.buffers[2].bytes = -1; }, "has a negative size -1");
  refused([](Problem& p) { p.launches[1].workspace_bytes = -1; }, "negative size", "launch_1");
  refused([](Problem& p) { p.buffers[2].bytes = std::numeric_limits<std::int64_t>::max(); },
          "exceeds the 64-bit address space");
  refused(
      [](Problem& p) {
        p.launches[1].workspace_bytes = std::numeric_limits<std::int64_t>::max() / 4;
      },
      "exceeds the 64-bit address space", "launch_1");
}

TEST(KindNames, AreTheTextForms) {
  EXPECT_EQ(buffer_kind_name(BufferKind::kInput), "input");
  EXPECT_EQ(buffer_kind_name(BufferKind::kOutput), "output");
  EXPECT_EQ(buffer_kind_name(BufferKind::kWeight), "weight");
  EXPECT_EQ(buffer_kind_name(BufferKind::kState), "state");
  EXPECT_EQ(buffer_kind_name(BufferKind::kIntermediate), "intermediate");
}

}  // namespace
}  // namespace monograph::plan
