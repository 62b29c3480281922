// The SIMT emulator: results, and every kind of misuse that it must find.
#include <monograph/error.h>

#include <cmath>
#include <numeric>

#include "tests/vgpu/fixture.h"

namespace vgpu_test {
namespace {

using monograph::Code;
using monograph::Error;

class Emulator : public VirtualGpu {
 protected:
  void SetUp() override {
    VirtualGpu::SetUp();
    library = load_image(context, "probe");
  }
  void TearDown() override {
    controls().reset();
    library = {};
    VirtualGpu::TearDown();
  }
  // Runs the kernel and expects the device to be lost with `text` in the message.
  template <class... A>
  void expect_fault(const char* kernel, Shape shape, const char* text, A... args) {
    Args<A...> params(args...);
    launch(stream.get(), library.kernel(kernel), shape, params.pointers());
    try {
      stream.synchronize();
      ADD_FAILURE() << kernel << " was not found out";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kDevicePoisoned);
      EXPECT_NE(std::string(controls().message()).find(text), std::string::npos)
          << controls().message();
    }
    controls().reset();
  }

  Library library;
};

TEST_F(Emulator, ParametersAreLaidOutAsTheDeviceLaysThemOut) {
  const Kernel kernel = library.kernel("layout");
  const auto params = kernel.params();
  ASSERT_EQ(params.size(), 4u);
  EXPECT_EQ(params[1].offset, 8u);
  EXPECT_EQ(params[2].offset, 16u);
  EXPECT_EQ(params[3].offset, 24u);
  EXPECT_EQ(params[3].size, 2u);
  DeviceBuffer out = DeviceBuffer::allocate(context, 64 * 4);
  Args args('\3', 2.5, out.get(), short(-4));
  launch(stream.get(), kernel, {1, 1, 64}, args.pointers());
  EXPECT_EQ(download<float>(out.get(), 64), std::vector<float>(64, 4.0f));
}

TEST_F(Emulator, WarpOperationsGiveWhatThePtxManualSays) {
  for (const std::uint64_t seed : {0, 1, 2, 3}) {
    controls().seed(seed);
    DeviceBuffer out = DeviceBuffer::allocate(context, 9 * 4);
    Args args(out.get());
    launch(stream.get(), library.kernel("warp_operations"), {1, 1, 32}, args.pointers());
    EXPECT_EQ(download<int>(out.get(), 9),
              (std::vector<int>{70, 3, 5, 21, 5, 0x55555555, 1, 0, 5}));
  }
}

TEST_F(Emulator, DivergentBarrierIsFound) {
  DeviceBuffer out = DeviceBuffer::allocate(context, 256);
  expect_fault("bad_divergent", {1, 1, 64}, "divergent barrier", out.get());
}
TEST_F(Emulator, DeadlockIsFound) {
  DeviceBuffer out = DeviceBuffer::allocate(context, 256);
  expect_fault("bad_deadlock", {1, 1, 64}, "deadlock", out.get());
}
TEST_F(Emulator, ExitBeforeABarrierIsFound) {
  DeviceBuffer out = DeviceBuffer::allocate(context, 256);
  for (const std::uint64_t seed : {0, 1, 2, 3, 4, 5, 6, 7}) {
    controls().seed(seed);
    expect_fault("bad_exit", {1, 1, 64}, "exited", out.get());
  }
}
TEST_F(Emulator, AccessOutsideAnAllocationIsFound) {
  DeviceBuffer out = DeviceBuffer::allocate(context, 1024 * 4);
  expect_fault("bad_bounds", {1, 1, 64}, "illegal address", out.get(), 1024);
  expect_fault("bad_bounds", {1, 1, 64}, "illegal address", out.get(), -1024);
}
TEST_F(Emulator, WriteIntoARedZoneIsFound) {
  DeviceBuffer out = DeviceBuffer::allocate(context, 1000);  // rounded up to 1024
  expect_fault("bad_bounds", {1, 1, 4}, "wrote outside an allocation", out.get(), 250);
}
TEST_F(Emulator, MisalignedAccessIsFound) {
  DeviceBuffer out = DeviceBuffer::allocate(context, 1024);
  expect_fault("bad_alignment", {1, 1, 1}, "misaligned", out.get());
}
TEST_F(Emulator, WritePastDynamicSharedMemoryIsFound) {
  DeviceBuffer out = DeviceBuffer::allocate(context, 256);
  expect_fault("bad_shared", {1, 1, 4, 64}, "past its dynamic shared memory", out.get(), 16);
}
TEST_F(Emulator, TheDeviceStaysLostAfterAFault) {
  DeviceBuffer out = DeviceBuffer::allocate(context, 256);
  Args args(out.get(), 64);
  launch(stream.get(), library.kernel("bad_bounds"), {1, 1, 1}, args.pointers());
  EXPECT_EQ(driver().StreamSynchronize.raw(stream.get()), CUDA_ERROR_ILLEGAL_ADDRESS);
  std::size_t free = 0, total = 0;
  EXPECT_EQ(driver().MemGetInfo.raw(&free, &total), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST_F(Emulator, MatrixInstructionsMultiply) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<std::uint16_t> a(256), b(128);
  const auto widen = [](std::uint16_t bits) {
    const std::uint32_t u = std::uint32_t(bits) << 16;
    float f;
    std::memcpy(&f, &u, 4);
    return f;
  };
  for (auto* matrix : {&a, &b}) {
    for (auto& bits : *matrix) {
      const float f = normal(random);
      std::uint32_t u;
      std::memcpy(&u, &f, 4);
      bits = static_cast<std::uint16_t>(u >> 16);
    }
  }
  DeviceBuffer da = upload(a), db = upload(b), dc = DeviceBuffer::allocate(context, 128 * 4);
  for (const std::uint64_t seed : {0, 1, 2, 3, 4}) {
    controls().seed(seed);
    Args args(da.get(), db.get(), dc.get());
    launch(stream.get(), library.kernel("tile_product"), {1, 1, 32}, args.pointers());
    const auto c = download<float>(dc.get(), 128);
    for (int row = 0; row < 16; ++row) {
      for (int column = 0; column < 8; ++column) {
        double sum = 0;
        for (int k = 0; k < 16; ++k) {
          sum += double(widen(a[static_cast<std::size_t>(row * 16 + k)])) *
                 widen(b[static_cast<std::size_t>(k * 8 + column)]);
        }
        EXPECT_NEAR(c[static_cast<std::size_t>(row * 8 + column)], sum, 1e-5)
            << row << "," << column;
      }
    }
  }
}

// How many of `seeds` runs give anything but `want` (a reported fault counts).
class Copies : public Emulator {
 protected:
  template <class... A>
  int wrong(const char* kernel, Shape shape, const DeviceBuffer& out,
            const std::vector<float>& want, int seeds, A... args) {
    int count = 0;
    for (int seed = 1; seed <= seeds; ++seed) {
      controls().seed(static_cast<std::uint64_t>(seed));
      Args<A...> params(args...);
      driver().MemsetD8Async(out.get(), 0xff, out.bytes(), stream.get());
      launch(stream.get(), library.kernel(kernel), shape, params.pointers());
      try {
        count += download<float>(out.get(), want.size()) != want;
      } catch (const Error&) {
        ++count;
        controls().reset();
      }
    }
    return count;
  }
};

TEST_F(Copies, AsynchronousCopiesNeedTheirWait) {
  std::vector<float> in(5 * 128);
  std::iota(in.begin(), in.end(), 1.0f);
  std::vector<float> want(32);
  for (int tile = 0; tile < 5; ++tile) {
    for (std::size_t lane = 0; lane < 32; ++lane) {
      for (std::size_t k = 0; k < 4; ++k) {
        want[lane] += in[static_cast<std::size_t>(tile) * 128 + (lane * 4 + k + 4) % 128];
      }
    }
  }
  DeviceBuffer din = upload(in), out = DeviceBuffer::allocate(context, 128);
  EXPECT_EQ(wrong("pipelined", {1, 1, 32}, out, want, 20, din.get(), out.get(), 5), 0);
  EXPECT_GT(wrong("bad_pipelined", {1, 1, 32}, out, want, 20, din.get(), out.get(), 5), 15);
}

TEST_F(Copies, BulkCopiesNeedTheirBarrier) {
  std::vector<float> in(256);
  std::iota(in.begin(), in.end(), 1.0f);
  DeviceBuffer din = upload(in), out = DeviceBuffer::allocate(context, 1024);
  EXPECT_EQ(wrong("bulk_copied", {1, 1, 256}, out, in, 20, din.get(), out.get()), 0);
  // Half of them come at once.
  EXPECT_GT(wrong("bad_bulk_copied", {1, 1, 256}, out, in, 20, din.get(), out.get()), 5);
}

TEST_F(Emulator, AKernelOfAnUnloadedLibraryIsAFault) {
  DeviceBuffer out = DeviceBuffer::allocate(context, 256);
  Library other = load_image(context, "probe");
  Args args(out.get(), 1.0f, 4);
  launch(stream.get(), other.kernel("fill"), {1, 1, 32}, args.pointers());
  other = {};
  EXPECT_EQ(driver().StreamSynchronize.raw(stream.get()), CUDA_ERROR_ILLEGAL_ADDRESS);
}

// ---- the race check, on the same source with instrumented accesses ----
class Races : public Emulator {
 protected:
  void SetUp() override {
    Emulator::SetUp();
    library = load_image(context, "probe_races");
  }
};

TEST_F(Races, UnsynchronisedReadModifyWriteIsFound) {
  std::vector<int> values(64);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int>(i % 5);
  DeviceBuffer in = upload(values), counts = upload(std::vector<int>(5, 0));
  for (const std::uint64_t seed : {0, 1, 2, 3}) {
    controls().seed(seed);
    expect_fault("bad_count", {2, 1, 32}, "data race", in.get(), counts.get(), 64);
  }
  driver().MemsetD8Async(counts.get(), 0, 20, stream.get());
  Args args(in.get(), counts.get(), 64);
  launch(stream.get(), library.kernel("count"), {2, 1, 32}, args.pointers());
  EXPECT_EQ(download<int>(counts.get(), 5), (std::vector<int>{13, 13, 13, 13, 12}));
}

TEST_F(Races, MissingWarpBarrierIsFound) {
  DeviceBuffer out = DeviceBuffer::allocate(context, 128);
  for (const std::uint64_t seed : {0, 1, 2, 3}) {
    controls().seed(seed);
    expect_fault("bad_exchange", {1, 1, 32}, "data race at static shared", out.get());
    Args args(out.get());
    launch(stream.get(), library.kernel("exchange"), {1, 1, 32}, args.pointers());
    const auto got = download<int>(out.get(), 32);
    for (int i = 0; i < 32; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)], i ^ 1);
  }
}

}  // namespace
}  // namespace vgpu_test
