// What graphs and streams of the virtual GPU do beyond the driver's rules (those are in rules/):
// host callbacks, memory between host and device, several client threads, faults in turn.
#include <monograph/error.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <numeric>
#include <thread>

#include "tests/vgpu/fixture.h"

namespace vgpu_test {
namespace {

using monograph::Error;

class GraphTest : public VirtualGpu {};

// ---- the seam for library calls ----
struct AddCall {
  int calls = 0;
  static int run(void** params, void* user) {
    const auto* const a = *static_cast<const float**>(params[0]);
    float* const out = *static_cast<float**>(params[1]);
    const float bias = *static_cast<float*>(params[2]);
    const int n = *static_cast<int*>(params[3]);
    for (int i = 0; i < n; ++i) out[i] = a[i] + bias;
    ++static_cast<AddCall*>(user)->calls;
    return n < 0;
  }
};

class HostKernels : public VirtualGpu {
 protected:
  void SetUp() override {
    VirtualGpu::SetUp();
    const std::size_t sizes[] = {8, 8, 4, 4};
    ASSERT_EQ(controls().register_host_kernel("add", AddCall::run, &call, sizes, 4), 0);
    const char blob[] = "vgpu-host:add";
    library = Library::load(context, std::as_bytes(std::span(blob)));
  }
  void TearDown() override {
    library = {};
    controls().unregister_host_kernel("add");
    VirtualGpu::TearDown();
  }
  AddCall call;
  Library library;
};

TEST_F(HostKernels, AreKernelNodesLikeAnyOther) {
  const Kernel kernel = library.kernel("add");
  ASSERT_EQ(kernel.params().size(), 4u);
  DeviceBuffer a = upload(std::vector<float>{1, 2, 3, 4}), b = DeviceBuffer::allocate(context, 16),
               c = DeviceBuffer::allocate(context, 16);
  Args first(a.get(), b.get(), 10.0f, 4), second(b.get(), c.get(), 100.0f, 4);
  Graph graph = Graph::create(context);
  CUgraphNodeParams p = kernel_node(kernel, {}, first.pointers());
  const CUgraphNode node = graph.add_node(p);
  graph.begin_capture(stream.get(), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, {{node}});
  launch(stream.get(), kernel, {}, second.pointers());
  graph.end_capture();
  EXPECT_EQ(graph.edges().size(), 1u);
  EXPECT_EQ(call.calls, 0);
  GraphExec exec = graph.instantiate();
  for (const std::uint64_t seed : {0, 1, 2, 3}) {
    controls().seed(seed);
    driver().MemsetD8Async(b.get(), 0xff, 16, stream.get());
    exec.launch(stream.get());
    EXPECT_EQ(download<float>(c.get(), 4), (std::vector<float>{111, 112, 113, 114}));
  }
  EXPECT_EQ(call.calls, 8);
}

TEST_F(HostKernels, AFailingCallbackIsAFailedLaunch) {
  DeviceBuffer a = DeviceBuffer::allocate(context, 16);
  Args args(a.get(), a.get(), 0.0f, -1);
  launch(stream.get(), library.kernel("add"), {}, args.pointers());
  EXPECT_EQ(driver().StreamSynchronize.raw(stream.get()), CUDA_ERROR_LAUNCH_FAILED);
  controls().reset();
}

TEST_F(GraphTest, HostFunctionsRunInOrderAndMayNotCallTheDriver) {
  struct State {
    std::vector<int> order;
    CUresult inside = CUDA_SUCCESS;
  } state;
  const auto append = [](void* user) {
    auto* const s = static_cast<State*>(user);
    std::size_t free = 0, total = 0;
    s->inside = driver().MemGetInfo.raw(&free, &total);
    s->order.push_back(static_cast<int>(s->order.size()));
  };
  for (int i = 0; i < 3; ++i) driver().LaunchHostFunc(stream.get(), append, &state);
  EXPECT_TRUE(state.order.empty());
  stream.synchronize();
  EXPECT_EQ(state.order, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(state.inside, CUDA_ERROR_NOT_PERMITTED);
}

// ---- memory ----
TEST_F(GraphTest, DeviceMemoryIsClosedToTheHostBetweenRuns) {
  DeviceBuffer buffer = DeviceBuffer::allocate(context, 4096);
  driver().MemsetD8Async(buffer.get(), 0, 4096, stream.get());
  stream.synchronize();
  const pid_t child = fork();
  if (child == 0) {
    ::signal(SIGSEGV, SIG_DFL);
    _exit(*reinterpret_cast<volatile char*>(buffer.get()));
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_F(GraphTest, FreshMemoryIsPoison) {
  DeviceBuffer buffer = DeviceBuffer::allocate(context, 64);
  for (const float f : download<float>(buffer.get(), 16)) EXPECT_NE(f, f);
  Reservation arena = Reservation::reserve(context, 1);
  arena.grow_to(1);
  for (const float f : download<float>(arena.base(), 16)) EXPECT_NE(f, f);
}

TEST_F(GraphTest, PageableSourcesAreReadAtTheCallAndPinnedOnesWhenTheCopyRuns) {
  DeviceBuffer buffer = DeviceBuffer::allocate(context, 4);
  int pageable = 1;
  driver().MemcpyHtoDAsync(buffer.get(), &pageable, 4, stream.get());
  pageable = 2;
  EXPECT_EQ(download<int>(buffer.get(), 1)[0], 1);
  PinnedBuffer pinned = PinnedBuffer::allocate(context, 4);
  int* const value = reinterpret_cast<int*>(pinned.data());
  *value = 3;
  driver().MemcpyHtoDAsync(buffer.get(), value, 4, stream.get());
  *value = 4;  // too early: the copy has not run
  EXPECT_EQ(download<int>(buffer.get(), 1)[0], 4);
}

TEST_F(GraphTest, RegisteredHostMemoryIsDeviceMemoryToo) {
  std::vector<float> host(32, 0.0f);
  driver().MemHostRegister(host.data(), 128, CU_MEMHOSTREGISTER_DEVICEMAP);
  CUdeviceptr at = 0;
  driver().MemHostGetDevicePointer(&at, host.data(), 0);
  const Library library = load_image(context, "probe");
  Args args(at, 3.0f, 32);
  launch(stream.get(), library.kernel("fill"), {1, 1, 32}, args.pointers());
  stream.synchronize();
  EXPECT_EQ(host, std::vector<float>(32, 3.0f));
  driver().MemHostUnregister(host.data());
}

// ---- graphs ----
TEST_F(GraphTest, ANodeCanBeSwitchedOffAndAGraphUpdatedWhole) {
  DeviceBuffer a = DeviceBuffer::allocate(context, 16);
  const auto build = [&](unsigned value) {
    Graph graph = Graph::create(context);
    CUgraphNodeParams p = fill_node(a.get(), value, 4);
    graph.add_node(p);
    return graph;
  };
  Graph graph = build(1);
  const CUgraphNode node = graph.nodes()[0];
  GraphExec exec = graph.instantiate();
  exec.set_enabled(node, false);
  EXPECT_FALSE(exec.enabled(node));
  driver().MemsetD32Async(a.get(), 7, 4, stream.get());
  exec.launch(stream.get());
  EXPECT_EQ(download<unsigned>(a.get(), 4), std::vector<unsigned>(4, 7));
  exec.set_enabled(node, true);
  ASSERT_TRUE(exec.update(build(2)));
  exec.launch(stream.get());
  EXPECT_EQ(download<unsigned>(a.get(), 4), std::vector<unsigned>(4, 2));
  Graph longer = build(3);
  CUgraphNodeParams p = fill_node(a.get(), 4, 4);
  longer.add_node(p);
  std::string reason;
  EXPECT_FALSE(exec.update(longer, &reason));
  EXPECT_EQ(reason, "the topology changed");
  EXPECT_THROW(exec.launch(stream.get()), Error);
}

TEST_F(GraphTest, AnExecutableGraphOutlivesItsGraphAndItsQueuedWorkOutlivesIt) {
  DeviceBuffer a = DeviceBuffer::allocate(context, 16);
  {
    GraphExec exec;
    {
      Graph graph = Graph::create(context);
      CUgraphNodeParams p = fill_node(a.get(), 9, 4);
      graph.add_node(p);
      exec = graph.instantiate();
    }
    exec.launch(stream.get());
  }
  EXPECT_EQ(download<unsigned>(a.get(), 4), std::vector<unsigned>(4, 9));
}

// A node without an edge to the end of a long chain must sometimes run after all of the chain.
TEST_F(GraphTest, AShortBranchMayOutlastALongOne) {
  DeviceBuffer value = DeviceBuffer::allocate(context, 4),
               other = DeviceBuffer::allocate(context, 4), out = DeviceBuffer::allocate(context, 4);
  Graph graph = Graph::create(context);
  CUgraphNodeParams alone = fill_node(value.get(), 7, 1);
  graph.add_node(alone);
  CUgraphNode last = nullptr;
  for (unsigned i = 0; i < 40; ++i) {
    CUgraphNodeParams link = fill_node(other.get(), i, 1);
    last = i == 0 ? graph.add_node(link) : graph.add_node(link, {{last}});
  }
  CUgraphNodeParams copy = copy_node(out.get(), value.get(), 4);
  graph.add_node(copy, {{last}});
  GraphExec exec = graph.instantiate();
  int early = 0, late = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    controls().seed(seed);
    driver().MemsetD32Async(value.get(), 0, 1, stream.get());
    exec.launch(stream.get());
    ++(download<unsigned>(out.get(), 1)[0] == 7 ? early : late);
  }
  controls().seed(0);
  EXPECT_GT(early, 0);
  EXPECT_GT(late, 0);
}

TEST_F(GraphTest, TheDriversDotNamesKernels) {
  const Library library = load_image(context, "probe");
  Graph graph = Graph::create(context);
  CUgraphNodeParams p = kernel_node(library.kernel("nothing"), {}, nullptr);
  const CUgraphNode a = graph.add_node(p);
  graph.add_node(p, {{a}});
  const std::string path = testing::TempDir() + "vgpu_dot_test.dot";
  graph.write_dot(path);
  std::FILE* const f = std::fopen(path.c_str(), "r");
  ASSERT_NE(f, nullptr);
  char text[512] = {};
  const std::size_t n = std::fread(text, 1, sizeof text - 1, f);
  std::fclose(f);
  EXPECT_NE(std::string(text, n).find("nothing"), std::string::npos);
  EXPECT_NE(std::string(text, n).find("n0 -> n1"), std::string::npos);
}

// ---- several client threads ----
TEST_F(GraphTest, ClientThreadsWorkSideBySide) {
  const Library library = load_image(context, "probe");
  const Kernel fill = library.kernel("fill");
  controls().seed(5);
  std::vector<std::thread> threads;
  std::vector<std::vector<float>> results(4);
  for (std::size_t t = 0; t < results.size(); ++t) {
    threads.emplace_back([&, t] {
      const CurrentContext scope(*context);
      Stream own = Stream::create(context);
      DeviceBuffer buffer = DeviceBuffer::allocate(context, 256);
      for (int round = 0; round < 20; ++round) {
        Graph graph = Graph::create(context);
        Args args(buffer.get(), float(t) + 1.0f, 64);
        graph.begin_capture(own.get(), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
        launch(own.get(), fill, {2, 1, 32}, args.pointers());
        graph.end_capture();
        graph.instantiate().launch(own.get());
        results[t].assign(64, 0.0f);
        driver().MemcpyDtoHAsync(results[t].data(), buffer.get(), 256, own.get());
        own.synchronize();
      }
    });
  }
  for (auto& t : threads) t.join();
  for (std::size_t t = 0; t < results.size(); ++t) {
    EXPECT_EQ(results[t], std::vector<float>(64, float(t) + 1.0f));
  }
}

// ---- faults in turn ----
TEST_F(GraphTest, EveryCallCanFailAndNothingIsLeft) {
  const auto client = [&] {
    Stream s = Stream::create(context);
    const Library library = load_image(context, "probe");
    const Kernel kernel = library.kernel("fill");
    DeviceBuffer buffer = DeviceBuffer::allocate(context, 256);
    Reservation arena = Reservation::reserve(context, 1);
    arena.grow_to(1);
    PinnedBuffer pinned = PinnedBuffer::allocate(context, 256);
    Event event = Event::create(context);
    Graph graph = Graph::create(context);
    Args args(buffer.get(), 1.0f, 64);
    CUgraphNodeParams p = kernel_node(kernel, {2, 1, 32}, args.pointers());
    const CUgraphNode node = graph.add_node(p);
    graph.begin_capture(s.get(), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, {{node}});
    launch(s.get(), kernel, {2, 1, 32}, args.pointers());
    graph.end_capture();
    GraphExec exec = graph.instantiate();
    exec.upload(s.get());
    exec.launch(s.get());
    event.record(s.get());
    driver().MemcpyDtoHAsync(pinned.data(), buffer.get(), 256, s.get());
    s.synchronize();
    EXPECT_EQ(*reinterpret_cast<float*>(pinned.data()), 1.0f);
  };
  set_release_hook([](const char*) noexcept {});
  const std::string baseline = leaks();
  const std::uint64_t before = controls().calls(nullptr);
  client();
  const std::uint64_t calls = controls().calls(nullptr) - before;
  ASSERT_GT(calls, 40u);
  std::uint64_t seen = 0;
  for (const CUresult code : {CUDA_ERROR_UNKNOWN, CUDA_ERROR_OUT_OF_MEMORY}) {
    for (std::uint64_t nth = 1; nth <= calls; ++nth) {
      controls().fail(nullptr, nth, code);
      try {
        client();
      } catch (const Error& error) {
        ++seen;
      }
      controls().fail(nullptr, 0, code);
      driver().CtxSynchronize.raw();
      EXPECT_EQ(leaks(), baseline) << "call " << nth;
    }
  }
  set_release_hook(nullptr);
  EXPECT_GT(seen, calls);
  client();
}

TEST_F(GraphTest, InjectedFaultsHitTheNamedCallOnly) {
  controls().fail("cuEventCreate", 2, CUDA_ERROR_OUT_OF_MEMORY);
  const Event first = Event::create(context);
  const Stream unaffected = Stream::create(context);
  EXPECT_THROW(Event::create(context), Error);
  const Event third = Event::create(context);
}

}  // namespace
}  // namespace vgpu_test
