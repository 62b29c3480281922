// Plans as graphs and on streams, on the virtual GPU: patching, warm-up, captures, edges.
#include <gmock/gmock.h>
#include <monograph/error.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <limits>

#include "runtime/cuda/graph/arena.h"
#include "tests/cuda/works.h"

namespace monograph::cuda::test {
namespace {

using testing::HasSubstr;
using vgpu_test::controls;
using vgpu_test::driver;

template <class Fn>
Error caught(Fn&& fn) {
  try {
    fn();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(Code::kInternal, "nothing was thrown");
}

class GraphRunnerTest : public PlanTest {
 protected:
  /// a = in0 * 2 + in1; b = in0 * 3 + w0; out0 = a * 1 + b
  std::vector<Work> three(CUdeviceptr a, CUdeviceptr b) {
    return {work("a", Address::input(0, 0), Address::input(1, 0), Address::fixed(a), 2),
            work("b", Address::input(0, 0), Address::weight(0, 0), Address::fixed(b), 3),
            work("sum", Address::fixed(a), Address::fixed(b), Address::output(0, 0), 1)};
  }
  const std::vector<plan::Edge> edges{{0, 2}, {1, 2}};
};

TEST_F(GraphRunnerTest, PatchesWhatMovedAndNothingElse) {
  const DeviceBuffer a = room(), b = room(), one = constant(1), ten = constant(10),
                     hundred = constant(100), out = room(), other = room();
  Ports ports{{one.get(), ten.get()}, {out.get()}, {hundred.get()}};
  const auto runner =
      build_plan_graph(context, three(a.get(), b.get()), edges, ports, stream.get());
  EXPECT_EQ(runner->report().kernel_nodes, 3u);
  EXPECT_EQ(runner->report().edges, 2u);
  const auto launch = [&](std::size_t patched, CUdeviceptr result, float want) {
    driver().MemsetD8Async(result, 0xff, kBytes, stream.get());
    const auto before = controls().calls("cuGraphLaunch");
    runner->launch(ports, stream.get());
    EXPECT_EQ(controls().calls("cuGraphLaunch"), before + 1);
    EXPECT_EQ(runner->patched(), patched);
    EXPECT_EQ(value(result), want);
  };
  launch(0, out.get(), 1 * 2 + 10 + 1 * 3 + 100);
  launch(0, out.get(), 115);
  ports.inputs[0] = ten.get();
  launch(2, out.get(), 10 * 2 + 10 + 10 * 3 + 100);
  ports.outputs[0] = other.get();
  launch(1, other.get(), 160);
  ports.inputs = {one.get(), one.get()};
  ports.outputs[0] = out.get();
  launch(3, out.get(), 1 * 2 + 1 + 1 * 3 + 100);
  launch(0, out.get(), 106);
  runner->rebind({ten.get()});
  EXPECT_EQ(runner->patched(), 1u);
  launch(0, out.get(), 16);
}

TEST_F(GraphRunnerTest, APatchThatFailedIsMadeUpFor) {
  const DeviceBuffer a = room(), b = room(), one = constant(1), ten = constant(10),
                     hundred = constant(100), out = room();
  Ports ports{{one.get(), ten.get()}, {out.get()}, {hundred.get()}};
  const auto runner =
      build_plan_graph(context, three(a.get(), b.get()), edges, ports, stream.get());
  for (const std::uint64_t nth : {1, 2}) {
    ports.inputs[0] = nth == 1 ? ten.get() : hundred.get();
    controls().fail("cuGraphExecKernelNodeSetParams", nth, CUDA_ERROR_INVALID_VALUE);
    const Error error = caught([&] { runner->launch(ports, stream.get()); });
    EXPECT_EQ(error.code(), Code::kDeviceFault);
    EXPECT_EQ(error.node(), nth == 1 ? "a" : "b");
    EXPECT_THAT(error.what(), HasSubstr("cuGraphExecKernelNodeSetParams"));
    runner->launch(ports, stream.get());
    EXPECT_EQ(value(out.get()), (nth == 1 ? 10 : 100) * 5 + 110);
  }
  controls().fail("cuGraphExecKernelNodeSetParams", 1, CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(caught([&] { runner->rebind({one.get()}); }).node(), "b");
  runner->launch(ports, stream.get());
  EXPECT_EQ(value(out.get()), 500 + 10 + 1);
}

TEST_F(GraphRunnerTest, AStreamComputesTheSame) {
  const DeviceBuffer a = room(), b = room(), one = constant(1), ten = constant(10),
                     hundred = constant(100), out = room();
  Ports ports{{one.get(), ten.get()}, {out.get()}, {hundred.get()}};
  const auto runner = build_plan_stream(context, three(a.get(), b.get()), ports);
  const auto launches = controls().calls("cuLaunchKernelEx");
  runner->launch(ports, stream.get());
  EXPECT_EQ(value(out.get()), 115);
  ports.inputs = {ten.get(), one.get()};
  runner->rebind({one.get()});
  runner->launch(ports, stream.get());
  EXPECT_EQ(value(out.get()), 52);
  EXPECT_EQ(controls().calls("cuLaunchKernelEx"), launches + 6);
}

TEST_F(GraphRunnerTest, CopiesAndFillsArePatchedToo) {
  const DeviceBuffer one = constant(1), ten = constant(10), staged = room(), out = room(),
                     other = room();
  const auto works = [&] {
    std::vector<Work> w;
    w.push_back({-1, "in", CopyWork{Address::input(0, 0), Address::fixed(staged.get()), kBytes}});
    w.push_back({-1, "zero", FillWork{Address::output(0, 0), kBytes, 0}});
    w.push_back(
        work("add", Address::fixed(staged.get()), Address::output(0, 0), Address::output(0, 0), 4));
    return w;
  };
  Ports ports{{one.get()}, {out.get()}, {}};
  const auto runner = build_plan_graph(context, works(), {{0, 2}, {1, 2}}, ports, stream.get());
  EXPECT_EQ(runner->report().copy_nodes, 1u);
  EXPECT_EQ(runner->report().fill_nodes, 1u);
  runner->launch(ports, stream.get());
  EXPECT_EQ(value(out.get()), 4);
  ports = {{ten.get()}, {other.get()}, {}};
  runner->launch(ports, stream.get());
  EXPECT_EQ(runner->patched(), 3u);
  EXPECT_EQ(value(other.get()), 40);
}

TEST_F(GraphRunnerTest, AnEmptyPlanAndEmptyLaunchesReplay) {
  const DeviceBuffer one = constant(1), out = room();
  const auto nothing = build_plan_graph(context, {}, {}, {}, stream.get());
  nothing->launch({}, stream.get());
  const Ports ports{{one.get()}, {out.get()}, {}};
  std::vector<Work> works;
  works.push_back(
      work("first", Address::input(0, 0), Address::input(0, 0), Address::output(0, 0), 1));
  works.push_back({-1, "empty", EmptyWork{}});
  works.push_back(
      work("last", Address::output(0, 0), Address::input(0, 0), Address::output(0, 0), 5));
  // The order of first and last goes through the empty launch.
  const auto runner =
      build_plan_graph(context, std::move(works), {{0, 1}, {1, 2}}, ports, stream.get());
  EXPECT_EQ(runner->report().empty_nodes, 1u);
  for (const std::uint64_t seed : {0, 1, 2, 3, 4, 5, 6, 7}) {
    controls().seed(seed);
    runner->launch(ports, stream.get());
    EXPECT_EQ(value(out.get()), 11);
  }
  stream.synchronize();
}

TEST_F(GraphRunnerTest, EdgesOutOfOrderAreADefectNotASilence) {
  const DeviceBuffer a = room(), b = room(), one = constant(1), out = room();
  const Ports ports{{one.get(), one.get()}, {out.get()}, {one.get()}};
  for (const std::vector<plan::Edge>& wrong :
       std::vector<std::vector<plan::Edge>>{{{1, 2}, {0, 1}}, {{2, 1}}, {{1, 1}}, {{0, 7}}}) {
    const Error error = caught(
        [&] { build_plan_graph(context, three(a.get(), b.get()), wrong, ports, stream.get()); });
    EXPECT_EQ(error.code(), Code::kInternal);
  }
}

TEST_F(GraphRunnerTest, IndependentChainsStayIndependent) {
  const DeviceBuffer one = constant(1), out = room(), other = room(), a = room(), b = room();
  const Ports ports{{one.get()}, {out.get(), other.get()}, {}};
  const auto fixed = [](const DeviceBuffer& x) { return Address::fixed(x.get()); };
  std::vector<Work> works;
  works.push_back(work("a0", Address::input(0, 0), Address::input(0, 0), fixed(a), 2, true));
  works.push_back(work("b0", Address::input(0, 0), Address::input(0, 0), fixed(b), 4));
  works.push_back(work("a1", fixed(a), fixed(a), Address::output(0, 0), 2, true));
  works.push_back(work("b1", fixed(b), fixed(b), Address::output(1, 0), 2));
  const auto runner =
      build_plan_graph(context, std::move(works), {{0, 2}, {1, 3}}, ports, stream.get());
  EXPECT_EQ(runner->report().edges, 2u);
  EXPECT_EQ(runner->report().programmatic_edges, 1u);
  EXPECT_THAT(runner->text(), HasSubstr("edge 0 -> 2 programmatic\nedge 1 -> 3\n"));
  for (const std::uint64_t seed : {0, 1, 2, 3, 4, 5, 6, 7}) {
    controls().seed(seed);
    for (const DeviceBuffer* x : {&a, &b}) {
      driver().MemsetD8Async(x->get(), 0xff, kBytes, stream.get());
    }
    runner->launch(ports, stream.get());
    EXPECT_EQ(value(out.get()), 9);
    EXPECT_EQ(value(other.get()), 15);
  }
}

// ---- library calls ----

class CaptureTest : public PlanTest {
 protected:
  /// A graph of one library call in the middle; what it says goes wrong.
  Error refused(const std::function<void(CUstream)>& what) {
    const DeviceBuffer one = constant(1), out = room();
    const Ports ports{{one.get()}, {out.get()}, {}};
    const auto build = [&](std::shared_ptr<Call> call) {
      std::vector<Work> works;
      works.push_back({-1, "call", LibraryWork{std::move(call)}});
      return build_plan_graph(context, std::move(works), {}, ports, stream.get());
    };
    const auto bad = std::make_shared<Call>(what);
    const Error error = caught([&] { build(bad); });
    EXPECT_EQ(bad->opened, 0) << "the bracket around the capture was not closed";
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_ACTIVE;
    driver().StreamIsCapturing(stream.get(), &status);
    EXPECT_EQ(status, CU_STREAM_CAPTURE_STATUS_NONE);
    // The same stream, right after.
    const auto good = std::make_shared<Call>(
        [&](CUstream s) { driver().MemcpyDtoDAsync(out.get(), one.get(), kBytes, s); });
    const auto runner = build(good);
    EXPECT_EQ(good->enqueued, 1);
    runner->launch(ports, stream.get());
    EXPECT_EQ(value(out.get()), 1);
    return error;
  }
};

TEST_F(CaptureTest, NothingEnqueuedIsRefused) {
  const Error error = refused([](CUstream) {});
  EXPECT_EQ(error.code(), Code::kDeviceCaptureFailed);
  EXPECT_EQ(error.node(), "call");
  EXPECT_THAT(error.what(), HasSubstr("enqueued nothing"));
}

TEST_F(CaptureTest, AnotherStreamIsRefused) {
  const Stream elsewhere = Stream::create(context);
  const DeviceBuffer x = room();
  const Error error =
      refused([&](CUstream) { driver().MemsetD8Async(x.get(), 0, kBytes, elsewhere.get()); });
  EXPECT_EQ(error.code(), Code::kDeviceCaptureFailed);
  EXPECT_THAT(error.what(), HasSubstr("another stream"));
  elsewhere.synchronize();
}

TEST_F(CaptureTest, ASynchronisationIsRefused) {
  const Error error = refused([&](CUstream s) {
    driver().LaunchHostFunc(
        s, [](void*) {}, nullptr);
    (void)driver().StreamSynchronize.raw(s);
  });
  EXPECT_EQ(error.code(), Code::kDeviceCaptureFailed);
  EXPECT_THAT(error.what(), HasSubstr("synchronised"));
  EXPECT_THAT(error.driver_text(), HasSubstr("CUDA_ERROR_STREAM_CAPTURE"));
}

TEST_F(CaptureTest, UnjoinedWorkIsRefused) {
  const Stream side = Stream::create(context);
  Event fork = Event::create(context);
  const DeviceBuffer x = room();
  const Error error = refused([&](CUstream s) {
    fork.record(s);
    side.wait(fork);
    driver().MemsetD8Async(x.get(), 0, kBytes, side.get());
  });
  EXPECT_EQ(error.code(), Code::kDeviceCaptureFailed);
  EXPECT_THAT(error.what(), HasSubstr("unjoined"));
  EXPECT_THAT(error.driver_text(), HasSubstr("UNJOINED"));
  side.synchronize();
}

TEST_F(CaptureTest, MemoryNodesAndHostCodeAreRefused) {
  const Error memory = refused([&](CUstream s) {
    CUdeviceptr p = 0;
    driver().MemAllocAsync(&p, kBytes, s);
    driver().MemFreeAsync(p, s);
  });
  EXPECT_EQ(memory.code(), Code::kDeviceCaptureFailed);
  EXPECT_THAT(memory.what(), HasSubstr("allocates device memory"));
  const Error host = refused([&](CUstream s) {
    driver().LaunchHostFunc(
        s, [](void*) {}, nullptr);
  });
  EXPECT_EQ(host.code(), Code::kDeviceCaptureFailed);
  EXPECT_THAT(host.what(), HasSubstr("host code"));
}

TEST_F(CaptureTest, CopiesFromAndToTheHostAreRefused) {
  const DeviceBuffer x = room();
  std::vector<std::byte> pageable(kBytes);
  void* pinned = nullptr;
  driver().MemHostAlloc(&pinned, kBytes, 0);
  for (void* memory : {static_cast<void*>(pageable.data()), pinned}) {
    const Error from =
        refused([&](CUstream s) { driver().MemcpyHtoDAsync(x.get(), memory, kBytes, s); });
    EXPECT_EQ(from.code(), Code::kDeviceCaptureFailed);
    EXPECT_THAT(from.what(), HasSubstr("from or to the host's memory"));
    const Error to =
        refused([&](CUstream s) { driver().MemcpyDtoHAsync(memory, x.get(), kBytes, s); });
    EXPECT_EQ(to.code(), Code::kDeviceCaptureFailed);
    EXPECT_THAT(to.what(), HasSubstr("from or to the host's memory"));
  }
  driver().MemFreeHost(pinned);
}

TEST_F(CaptureTest, WhatTheCallThrowsComesThrough) {
  const DeviceBuffer x = room();
  const Error error = refused([&](CUstream s) {
    driver().MemsetD8Async(x.get(), 0, kBytes, s);
    throw Error(Code::kRejectedUnsupportedOp, "not this one");
  });
  EXPECT_EQ(error.code(), Code::kRejectedUnsupportedOp);
}

TEST_F(CaptureTest, WarmUpRunsSeeWhatReplaysWillSee) {
  // The call's input is made by a kernel of the plan, in memory that holds NaN before.
  const DeviceBuffer one = constant(1), made = room(), out = room();
  std::vector<float> seen;
  const auto call = std::make_shared<Call>(
      [&](CUstream s) {
        CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
        driver().StreamIsCapturing(s, &status);
        if (status == CU_STREAM_CAPTURE_STATUS_NONE) seen.push_back(value(made.get()));
        driver().MemcpyDtoDAsync(out.get(), made.get(), kBytes, s);
      },
      2);
  std::vector<Work> works;
  works.push_back(
      work("make", Address::input(0, 0), Address::input(0, 0), Address::fixed(made.get()), 6));
  works.push_back({-1, "call", LibraryWork{call}});
  const Ports ports{{one.get()}, {}, {}};
  const auto runner = build_plan_graph(context, std::move(works), {{0, 1}}, ports, stream.get());
  EXPECT_EQ(seen, (std::vector<float>{7, 7}));
  EXPECT_EQ(call->enqueued, 3);
  runner->launch(ports, stream.get());
  EXPECT_EQ(value(out.get()), 7);
}

TEST_F(CaptureTest, AWarmUpThatFailsLeavesNothingInFlight) {
  const DeviceBuffer one = constant(1), out = room();
  std::vector<Work> works;
  {
    // The call goes with its kernel's code, which nothing may run afterwards.
    const auto own = std::make_shared<Library>(vgpu_test::load_image(context, "plan"));
    const auto launch = [own, kernel = own->kernel("axpb"), a = one.get(), b = one.get(),
                         c = out.get()](CUstream s) mutable {
      float k = 2;
      int n = kLength;
      void* params[] = {&a, &b, &c, &k, &n};
      CUlaunchConfig config{};
      config.gridDimX = 2;
      config.blockDimX = 32;
      config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1;
      config.hStream = s;
      driver().LaunchKernelEx(&config, kernel.function(), params, nullptr);
    };
    works.push_back({-1, "fine", LibraryWork{std::make_shared<Call>(launch, 1)}});
  }
  const auto broken = [](CUstream) { throw Error(Code::kDeviceFault, "not today"); };
  works.push_back({-1, "broken", LibraryWork{std::make_shared<Call>(broken, 1)}});
  const Error error = caught([&] {
    build_plan_graph(context, std::move(works), {{0, 1}}, Ports{}, stream.get());
  });
  EXPECT_THAT(error.what(), HasSubstr("not today"));
  EXPECT_EQ(value(out.get()), 3);
  EXPECT_FALSE(driver().poisoned());
}

// ---- the arena ----

TEST_F(PlanTest, TheArenaGrowsWithoutMoving) {
  const auto arena = Arena::create(context, std::size_t{1} << 30);
  EXPECT_EQ(arena->committed(), 0u);
  const CUdeviceptr base = arena->ensure(1000, "small");
  driver().MemsetD8Async(base, 7, 1000, stream.get());
  const std::size_t first = arena->committed();
  EXPECT_GE(first, 1000u);
  EXPECT_EQ(arena->ensure(500, "smaller"), base);
  EXPECT_EQ(arena->committed(), first);
  EXPECT_EQ(arena->ensure(first + 1, "larger"), base);
  EXPECT_GT(arena->committed(), first);
  EXPECT_EQ(download<std::uint8_t>(base, 1000), std::vector<std::uint8_t>(1000, 7));
}

TEST_F(PlanTest, AnArenaOfSomebodyElsesBlocksKeepsTheOldOnes) {
  std::vector<std::size_t> asked;
  std::vector<std::weak_ptr<void>> given;
  auto arena = Arena::create(context, [&](std::size_t bytes) {
    if (bytes > 100'000) throw Error(Code::kDeviceOutOfMemory, "no block is that large");
    asked.push_back(bytes);
    auto buffer = std::make_shared<DeviceBuffer>(DeviceBuffer::allocate(context, bytes));
    Arena::Block block(buffer, reinterpret_cast<void*>(buffer->get()));
    given.push_back(block);
    return block;
  });
  EXPECT_EQ(arena->ensure(0, "nothing"), 0u);
  const CUdeviceptr first = arena->ensure(1000, "small");
  driver().MemsetD8Async(first, 7, 1000, stream.get());
  EXPECT_EQ(arena->ensure(500, "smaller"), first);
  EXPECT_NE(arena->ensure(5000, "larger"), first);
  EXPECT_EQ(asked, (std::vector<std::size_t>{1000, 5000}));
  EXPECT_EQ(arena->committed(), 6000u);
  EXPECT_EQ(download<std::uint8_t>(first, 1000), std::vector<std::uint8_t>(1000, 7));
  const Error error = caught([&] { arena->ensure(200'000, "huge"); });
  EXPECT_EQ(error.code(), Code::kDeviceOutOfMemory);
  EXPECT_THAT(error.what(), HasSubstr("arena of 200000 bytes for huge: no block is that large"));
  EXPECT_EQ(arena->committed(), 6000u);
  arena.reset();
  for (const auto& block : given) EXPECT_TRUE(block.expired());
}

TEST_F(PlanTest, OutOfMemorySaysWhatWasWantedAndLeavesTheArena) {
  controls().set("memory_bytes", 64 << 20);
  {
    const auto arena = Arena::create(context, std::size_t{1} << 30);
    const CUdeviceptr base = arena->ensure(1 << 20, "small");
    const std::size_t before = arena->committed();
    const Error error = caught([&] { arena->ensure(std::size_t{200} << 20, "big for f32[1000]"); });
    EXPECT_EQ(error.code(), Code::kDeviceOutOfMemory);
    EXPECT_THAT(error.what(), HasSubstr("arena of 209715200 bytes for big for f32[1000]"));
    EXPECT_THAT(error.what(), HasSubstr("of 67108864 bytes of device memory are free"));
    EXPECT_EQ(arena->committed(), before);
    EXPECT_EQ(arena->ensure(32 << 20, "fits"), base);
  }
  controls().set("memory_bytes", std::uint64_t{8} << 30);
}

// ---- processes ----

TEST_F(PlanTest, AChildProcessHearsThatTheDriverIsItsParents) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    std::string said;
    try {
      driver().fail("cuStreamCreate", CUDA_ERROR_NOT_INITIALIZED);
    } catch (const Error& e) {
      said = e.what();
    }
    const bool told = ::write(ends[1], said.data(), said.size()) > 0;
    ::_exit(told ? 0 : 1);
  }
  ::close(ends[1]);
  std::string said(4096, '\0');
  said.resize(
      static_cast<std::size_t>(std::max<ssize_t>(0, ::read(ends[0], said.data(), said.size()))));
  ::close(ends[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_THAT(said, HasSubstr("opened by process " + std::to_string(::getpid())));
  EXPECT_THAT(said, HasSubstr("does not survive fork"));
}

// ---- every edge is needed ----

/// A random plan of `axpb` launches: each reads two earlier values, and bytes are reused.
class EdgesTest : public PlanTest, public testing::WithParamInterface<unsigned> {
 protected:
  void SetUp() override {
    PlanTest::SetUp();
    std::mt19937 random(GetParam());
    plan::Problem problem;
    problem.buffers.push_back({0, plan::BufferKind::kInput, kBytes, 0, "x"});
    constexpr int kLaunches = 10;
    for (int i = 0; i < kLaunches; ++i) {
      const auto out = static_cast<plan::BufferId>(problem.buffers.size());
      const bool last = i == kLaunches - 1;
      problem.buffers.push_back({out,
                                 last ? plan::BufferKind::kOutput : plan::BufferKind::kIntermediate,
                                 kBytes, last ? 0 : -1, "b" + std::to_string(i)});
      // Two chains, of which the last launch joins the ends, so that every value counts.
      std::vector<plan::BufferId> reads{std::max(out - 2, 0),
                                        static_cast<plan::BufferId>(random() % out)};
      if (last) reads = {out - 1, out - 2};
      operands.push_back({reads[0], reads[1]});
      std::ranges::sort(reads);
      reads.erase(std::ranges::unique(reads).begin(), reads.end());
      problem.launches.push_back({i, "l" + std::to_string(i), reads, {out}, 0});
    }
    planned = plan::make_plan(std::move(problem), plan::Concurrency::kGraph);
    arena = room(static_cast<std::size_t>(planned.arena_bytes));
    input = constant(1);
    output = room();
  }
  void TearDown() override {
    arena = {};
    input = {};
    output = {};
    PlanTest::TearDown();
  }
  Address address(plan::BufferId id) const {
    const plan::Buffer& b = planned.problem.buffers[static_cast<std::size_t>(id)];
    if (b.kind == plan::BufferKind::kInput) return Address::input(0, 0);
    if (b.kind == plan::BufferKind::kOutput) return Address::output(0, 0);
    return Address::fixed(arena.get() + static_cast<CUdeviceptr>(planned.offset_of(id)));
  }
  std::unique_ptr<PlanRunner> build(const std::vector<plan::Edge>& edges) {
    std::vector<Work> works;
    for (std::size_t i = 0; i < operands.size(); ++i) {
      works.push_back(
          work("l" + std::to_string(i), address(operands[i].first), address(operands[i].second),
               address(planned.problem.launches[i].writes[0]), 0.5F + static_cast<float>(i % 3)));
    }
    return build_plan_graph(context, std::move(works), edges, ports(), stream.get());
  }
  Ports ports() const { return {{input.get()}, {output.get()}, {}}; }
  float replay(PlanRunner& runner, std::uint64_t seed) {
    controls().seed(seed);
    driver().MemsetD8Async(arena.get(), 0xff, arena.bytes(), stream.get());
    driver().MemsetD8Async(output.get(), 0xff, kBytes, stream.get());
    runner.launch(ports(), stream.get());
    return value(output.get());
  }

  std::vector<std::pair<plan::BufferId, plan::BufferId>> operands;
  plan::Plan planned;
  DeviceBuffer arena, input, output;
};

TEST_P(EdgesTest, RemovingAnyEdgeShows) {
  const auto whole = build(planned.edges);
  const float want = replay(*whole, 0);
  ASSERT_FALSE(std::isnan(want));
  for (std::uint64_t seed = 1; seed <= 20; ++seed) ASSERT_EQ(replay(*whole, seed), want) << seed;
  ASSERT_GE(planned.edges.size(), 9u);
  for (std::size_t e = 0; e < planned.edges.size(); ++e) {
    std::vector<plan::Edge> fewer = planned.edges;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(e));
    const auto mutant = build(fewer);
    bool shows = false;
    for (std::uint64_t seed = 1; seed <= 200 && !shows; ++seed) {
      shows = !(replay(*mutant, seed) == want);
    }
    EXPECT_TRUE(shows) << "edge " << planned.edges[e].from << " -> " << planned.edges[e].to;
  }
}

INSTANTIATE_TEST_SUITE_P(Plans, EdgesTest, testing::Range(1U, 9U));

}  // namespace
}  // namespace monograph::cuda::test
