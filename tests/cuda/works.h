// Works for tests of graphs and streams: chains of one small kernel, and calls to be captured.
#pragma once

#include <cstring>
#include <functional>

#include "runtime/cuda/graph/plan_graph.h"
#include "tests/vgpu/fixture.h"

namespace monograph::cuda::test {

inline constexpr int kLength = 64;
inline constexpr std::size_t kBytes = kLength * sizeof(float);

template <class T>
ParamValue scalar(T value) {
  std::vector<std::byte> bytes(sizeof(T));
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

/// A library call that does what the test says.
class Call final : public LibraryCall {
 public:
  Call(std::function<void(CUstream)> what, int warm_up_runs = 0)
      : what_(std::move(what)), warm_up_runs_(warm_up_runs) {}
  void enqueue(CUstream stream) override {
    ++enqueued;
    what_(stream);
  }
  int warm_up_runs() const override { return warm_up_runs_; }
  void before_capture(CUstream) override { ++opened; }
  void after_capture(CUstream) noexcept override { --opened; }
  int enqueued = 0;
  int opened = 0;

 private:
  std::function<void(CUstream)> what_;
  int warm_up_runs_;
};

/// The virtual GPU with the kernel `axpb` and a stream per test.
class PlanTest : public vgpu_test::VirtualGpu {
 protected:
  void SetUp() override {
    VirtualGpu::SetUp();
    library = vgpu_test::load_image(context, "plan");
    axpb = library.kernel("axpb");
  }
  void TearDown() override {
    library = {};
    VirtualGpu::TearDown();
  }
  /// out = a * k + b
  Work work(const std::string& node, Address a, Address b, Address out, float k,
            bool programmatic = false) const {
    KernelWork w;
    w.kernel = axpb;
    w.grid = {2, 1, 1};
    w.block = {32, 1, 1};
    w.programmatic = programmatic;
    w.params = {a, b, out, scalar(k), scalar(kLength)};
    return {-1, node, std::move(w)};
  }
  DeviceBuffer constant(float value) { return upload(std::vector<float>(kLength, value)); }
  DeviceBuffer room(std::size_t bytes = kBytes) { return DeviceBuffer::allocate(context, bytes); }
  /// The one value that all elements have; NaN if they differ.
  float value(CUdeviceptr at) {
    const auto all = download<float>(at, kLength);
    for (const float v : all) {
      if (v != all[0]) return std::numeric_limits<float>::quiet_NaN();
    }
    return all[0];
  }

  Library library;
  Kernel axpb;
};

}  // namespace monograph::cuda::test
