// The driver table and the owning handles, on the virtual GPU.
#include <monograph/error.h>

#include <thread>

#include "tests/vgpu/fixture.h"

namespace vgpu_test {
namespace {

using monograph::Code;
using monograph::Error;

template <class F>
Error failure_of(F body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(Code::kInternal, "");
}

TEST(DriverTable, AMissingLibraryIsAReasonedRefusal) {
  const Error error = failure_of([] { Driver::open("libno-such-driver.so.1"); });
  EXPECT_EQ(error.code(), Code::kDeviceUnavailable);
  EXPECT_NE(error.message().find("libno-such-driver.so.1"), std::string::npos);
  EXPECT_NE(error.driver_text().find("cannot open"), std::string::npos);
  EXPECT_NE(Driver::why_unavailable("libno-such-driver.so.1"), "");
}

TEST(DriverTable, ALibraryThatIsNoDriverIsTooOld) {
  const Error error = failure_of([] { Driver::open("libm.so.6"); });
  EXPECT_EQ(error.code(), Code::kDeviceDriverTooOld);
  EXPECT_NE(error.message().find("cuGetProcAddress_v2"), std::string::npos);
}

TEST(DriverTable, OpensOnceAndKnowsTheDevice) {
  EXPECT_EQ(&Driver::open(VGPU_LIBRARY), &driver());
  EXPECT_EQ(Driver::why_unavailable(VGPU_LIBRARY), "");
  EXPECT_EQ(driver().version(), CUDA_VERSION);
  for (unsigned f = 0; f < static_cast<unsigned>(Feature::kCount); ++f) {
    EXPECT_TRUE(driver().has(static_cast<Feature>(f))) << feature_name(static_cast<Feature>(f));
  }
  const DeviceInfo info = driver().device(0);
  EXPECT_EQ(info.warp_size, 32);
  EXPECT_TRUE(info.virtual_memory);
  EXPECT_TRUE(info.programmatic_launch);
  EXPECT_EQ(failure_of([] { driver().device(1); }).code(), Code::kInvalidArgument);
}

TEST(DriverTable, OlderAbiThanAskedForIsRefused) {
  const auto get =
      reinterpret_cast<PFN_cuGetProcAddress_v12000>(driver().extension("cuGetProcAddress_v2"));
  void* address = nullptr;
  CUdriverProcAddressQueryResult found{};
  EXPECT_EQ(get("cuGraphAddNode", &address, 12020, 0, &found), CUDA_SUCCESS);
  EXPECT_EQ(address, nullptr);
  EXPECT_EQ(found, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
  EXPECT_EQ(get("cuNoSuchCall", &address, 12020, 0, &found), CUDA_SUCCESS);
  EXPECT_EQ(found, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
}

class Handles : public VirtualGpu {};

TEST_F(Handles, ErrorsNameTheCallTheNodeAndTheDriversText) {
  const NodeScope outer("model");
  {
    const NodeScope scope("linear_3");
    const Error error = failure_of([] { driver().StreamQuery(reinterpret_cast<CUstream>(0x123)); });
    EXPECT_EQ(error.code(), Code::kDeviceFault);
    EXPECT_EQ(error.node(), "linear_3");
    EXPECT_NE(error.message().find("cuStreamQuery"), std::string::npos);
    EXPECT_EQ(error.driver_text(), "CUDA_ERROR_INVALID_HANDLE (400): invalid resource handle");
  }
  EXPECT_EQ(NodeScope::current(), "model");
}

TEST_F(Handles, OutOfMemorySaysWantedFreeAndTotal) {
  controls().set("memory_bytes", 1 << 20);
  const Error error = failure_of([&] { DeviceBuffer::allocate(context, 2 << 20, "weights"); });
  controls().set("memory_bytes", std::uint64_t(8) << 30);
  EXPECT_EQ(error.code(), Code::kDeviceOutOfMemory);
  for (const char* part : {"2097152 bytes for weights", "1048576 of 1048576"}) {
    EXPECT_NE(error.message().find(part), std::string::npos) << error.message();
  }
}

TEST_F(Handles, AStickyErrorPoisonsUntilTheContextIsNew) {
  controls().fail("cuStreamSynchronize", 1, CUDA_ERROR_ILLEGAL_ADDRESS);
  const NodeScope scope("replay");
  const Error first = failure_of([&] { stream.synchronize(); });
  EXPECT_EQ(first.code(), Code::kDevicePoisoned);
  EXPECT_NE(first.message().find("enqueued before"), std::string::npos);
  EXPECT_TRUE(driver().poisoned());
  controls().fail("cuMemAlloc", 1, CUDA_ERROR_ILLEGAL_ADDRESS);
  const Error second = failure_of([&] { DeviceBuffer::allocate(context, 4); });
  EXPECT_NE(second.message().find("cuStreamSynchronize at node replay"), std::string::npos);
  stream = {};
  current.reset();
  context.reset();  // the last user: the primary context goes
  context = Context::retain(driver());
  EXPECT_FALSE(driver().poisoned());
}

TEST_F(Handles, MovedFromHandlesAreEmptyAndRefuseUse) {
  Stream other = std::move(stream);
  EXPECT_FALSE(stream);
  EXPECT_EQ(failure_of([&] { stream.synchronize(); }).code(), Code::kInvalidState);
  stream = std::move(other);
  stream.synchronize();
  Graph graph = Graph::create(context);
  Graph taken = std::move(graph);
  EXPECT_EQ(failure_of([&] { graph.nodes(); }).code(), Code::kInvalidState);
  EXPECT_TRUE(taken.nodes().empty());
}

TEST_F(Handles, DestructorsReportThroughTheHookAndNeverThrow) {
  static int reports = 0;
  reports = 0;
  set_release_hook([](const char*) noexcept { ++reports; });
  controls().fail("cuEventDestroy", 1, CUDA_ERROR_UNKNOWN);
  { const Event event = Event::create(context); }
  EXPECT_EQ(reports, 1);
  controls().fail("cuEventDestroy", 1, CUDA_ERROR_DEINITIALIZED);
  { const Event event = Event::create(context); }
  EXPECT_EQ(reports, 1);
  set_release_hook(nullptr);
}

TEST_F(Handles, EventsMeasureOnlyWhatWasRecordedAndTimed) {
  Event plain = Event::create(context);
  Event a = Event::create(context, Event::Timing::kOn),
        b = Event::create(context, Event::Timing::kOn);
  EXPECT_TRUE(a.done());
  EXPECT_EQ(failure_of([&] { b.elapsed_ms_since(a); }).code(), Code::kInvalidState);
  a.record(stream.get());
  b.record(stream.get());
  EXPECT_FALSE(b.done());
  b.synchronize();
  EXPECT_GE(b.elapsed_ms_since(a), 0.0f);
  plain.record(stream.get());
  EXPECT_EQ(failure_of([&] { plain.elapsed_ms_since(a); }).code(), Code::kInvalidState);
  stream.synchronize();
}

TEST_F(Handles, AReservationGrowsWithoutMovingAndKeepsItsContent) {
  Reservation arena = Reservation::reserve(context, std::size_t(64) << 20);
  EXPECT_EQ(arena.committed(), 0u);
  arena.grow_to(1000);
  const CUdeviceptr base = arena.base();
  const std::size_t first = arena.committed();
  driver().MemsetD32Async(base, 0x01020304, 64, stream.get());
  arena.grow_to(first + 1);
  EXPECT_EQ(arena.base(), base);
  EXPECT_GT(arena.committed(), first);
  driver().MemsetD32Async(base + first - 128, 0x05060708, 64, stream.get());  // across both blocks
  EXPECT_EQ(download<unsigned>(base, 64), std::vector<unsigned>(64, 0x01020304));
  EXPECT_EQ(download<unsigned>(base + first - 128, 64), std::vector<unsigned>(64, 0x05060708));
  EXPECT_EQ(failure_of([&] { arena.grow_to(arena.reserved() + 1); }).code(),
            Code::kInvalidArgument);
  Reservation moved = std::move(arena);
  EXPECT_FALSE(arena);
  EXPECT_EQ(moved.base(), base);
}

TEST_F(Handles, AFailedGrowthLeavesTheReservationAsItWas) {
  Reservation arena = Reservation::reserve(context, std::size_t(64) << 20);
  arena.grow_to(1);
  const std::size_t committed = arena.committed();
  for (const char* call : {"cuMemCreate", "cuMemMap", "cuMemSetAccess"}) {
    controls().fail(call, 1, CUDA_ERROR_OUT_OF_MEMORY);
    const Error error = failure_of([&] { arena.grow_to(committed + 1); });
    EXPECT_EQ(error.code(), Code::kDeviceOutOfMemory) << call;
    EXPECT_NE(error.message().find(call), std::string::npos);
    EXPECT_EQ(arena.committed(), committed);
  }
  arena.grow_to(committed + 1);
  EXPECT_EQ(arena.committed(), 2 * committed);
}

TEST_F(Handles, AGraphThatIsDestroyedWhileCapturingFreesTheStream) {
  {
    Graph graph = Graph::create(context);
    graph.begin_capture(stream.get(), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    EXPECT_EQ(failure_of([&] { graph.nodes(); }).code(), Code::kInvalidState);
    EXPECT_EQ(failure_of([&] { graph.instantiate(); }).code(), Code::kInvalidState);
  }
  stream.synchronize();
  // The driver destroys a graph whose capture fails: destroying it again would be reported.
  testing::internal::CaptureStderr();
  std::optional<Graph> held = Graph::create(context);
  Graph& graph = *held;
  Stream other = Stream::create(context);
  Event fork = Event::create(context);
  graph.begin_capture(stream.get(), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  fork.record(stream.get());
  other.wait(fork);
  DeviceBuffer buffer;
  driver().LaunchHostFunc(
      other.get(), [](void*) {}, nullptr);
  const Error error = failure_of([&] { graph.end_capture(); });
  EXPECT_EQ(error.code(), Code::kDeviceCaptureFailed);
  EXPECT_EQ(graph.state(), Graph::State::kBroken);
  EXPECT_EQ(failure_of([&] { graph.instantiate(); }).code(), Code::kInvalidState);
  held.reset();
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  stream.synchronize();
}

TEST_F(Handles, InstantiationNamesTheDriversReason) {
  Graph graph = Graph::create(context);
  CUgraphNodeParams empty{};
  empty.type = CU_GRAPH_NODE_TYPE_EMPTY;
  const CUgraphNode a = graph.add_node(empty), b = graph.add_node(empty, {{a}});
  graph.add_dependencies({{b}}, {{a}});
  const Error error = failure_of([&] { graph.instantiate(); });
  EXPECT_NE(error.message().find("cycle"), std::string::npos) << error.message();
}

TEST_F(Handles, KernelsAreFoundByName) {
  const Library library = load_image(context, "probe");
  EXPECT_EQ(library.kernel("nothing").params().size(), 0u);
  const Error error = failure_of([&] { library.kernel("no_such_kernel"); });
  EXPECT_NE(error.message().find("no_such_kernel"), std::string::npos);
  Kernel kernel = library.kernel("fill");
  kernel.allow_dynamic_shared(100 << 10);
  EXPECT_EQ(kernel.attribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES), 100 << 10);
  EXPECT_GT(kernel.max_active_blocks(256, 0), 0);
  EXPECT_EQ(failure_of([&] { kernel.allow_dynamic_shared(1 << 20); }).code(), Code::kDeviceFault);
  const std::byte rubbish[16] = {};
  EXPECT_EQ(failure_of([&] { Library::load(context, rubbish); }).code(), Code::kDeviceFault);
}

TEST_F(Handles, AContextBecomesCurrentAndThePreviousOneReturns) {
  std::thread([&] {
    CUcontext now = nullptr;
    driver().CtxGetCurrent(&now);
    EXPECT_EQ(now, nullptr);
    {
      const CurrentContext scope(*context);
      const CurrentContext again(*context);
      driver().CtxGetCurrent(&now);
      EXPECT_EQ(now, context->get());
    }
    driver().CtxGetCurrent(&now);
    EXPECT_EQ(now, nullptr);
    DeviceBuffer buffer = DeviceBuffer::allocate(context, 16);  // makes it current by itself
  }).join();
}

}  // namespace
}  // namespace vgpu_test
