// What the tests of the virtual GPU share: the driver table on the virtual library, its controls,
// images, and helpers to launch.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "runtime/cuda/handles.h"
#include "tests/vgpu/vgpu.h"

namespace vgpu_test {

using namespace monograph::cuda;

/// Controls of the library named at build time.
struct Controls {
  decltype(&vgpu_seed) seed;
  decltype(&vgpu_fail) fail;
  decltype(&vgpu_calls) calls;
  decltype(&vgpu_set) set;
  decltype(&vgpu_leaks) leaks;
  decltype(&vgpu_message) message;
  decltype(&vgpu_reset) reset;
  decltype(&vgpu_kernels_run) kernels_run;
  decltype(&vgpu_register_host_kernel) register_host_kernel;
  decltype(&vgpu_unregister_host_kernel) unregister_host_kernel;
};

inline const Driver& driver() {
  return Driver::open(VGPU_LIBRARY);
}

inline const Controls& controls() {
  static const Controls all = [] {
    Controls c{};
    const auto get = [](auto* slot, const char* name) {
      *slot = reinterpret_cast<std::remove_pointer_t<decltype(slot)>>(driver().extension(name));
      if (*slot == nullptr) std::abort();
    };
    get(&c.seed, "vgpu_seed");
    get(&c.fail, "vgpu_fail");
    get(&c.calls, "vgpu_calls");
    get(&c.set, "vgpu_set");
    get(&c.leaks, "vgpu_leaks");
    get(&c.message, "vgpu_message");
    get(&c.reset, "vgpu_reset");
    get(&c.kernels_run, "vgpu_kernels_run");
    get(&c.register_host_kernel, "vgpu_register_host_kernel");
    get(&c.unregister_host_kernel, "vgpu_unregister_host_kernel");
    return c;
  }();
  return all;
}

inline std::string leaks() {
  std::array<char, 512> text{};
  controls().leaks(text.data(), text.size());
  return text.data();
}

/// An image that the driver is given by path: built from tests/vgpu/kernels.
inline Library load_image(const ContextRef& context, const std::string& name) {
  const std::string blob = "vgpu-so:" VGPU_IMAGES "/" + name + ".so";
  return Library::load(context,
                       {reinterpret_cast<const std::byte*>(blob.c_str()), blob.size() + 1});
}

/// Values of kernel parameters and the pointers that the driver wants.
template <class... A>
class Args {
 public:
  explicit Args(A... a) : values(a...) {
    std::apply([&](auto&... v) { pointers_ = {&v...}; }, values);
  }
  Args(const Args&) = delete;
  void** pointers() { return pointers_.data(); }
  std::tuple<A...> values;

 private:
  std::array<void*, sizeof...(A)> pointers_;
};

struct Shape {
  unsigned grid_x = 1, grid_y = 1, threads = 1, shared = 0;
};

inline void launch(CUstream stream, const Kernel& kernel, Shape shape, void** params,
                   bool programmatic = false) {
  CUlaunchAttribute attribute{};
  attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  attribute.value.programmaticStreamSerializationAllowed = 1;
  CUlaunchConfig config{};
  config.gridDimX = shape.grid_x;
  config.gridDimY = shape.grid_y;
  config.gridDimZ = config.blockDimY = config.blockDimZ = 1;
  config.blockDimX = shape.threads;
  config.sharedMemBytes = shape.shared;
  config.hStream = stream;
  config.attrs = &attribute;
  config.numAttrs = programmatic ? 1 : 0;
  driver().LaunchKernelEx(&config, kernel.function(), params, nullptr);
}

inline CUgraphNodeParams kernel_node(const Kernel& kernel, Shape shape, void** params) {
  CUgraphNodeParams p{};
  p.type = CU_GRAPH_NODE_TYPE_KERNEL;
  p.kernel.kern = kernel.get();
  p.kernel.gridDimX = shape.grid_x;
  p.kernel.gridDimY = shape.grid_y;
  p.kernel.gridDimZ = p.kernel.blockDimY = p.kernel.blockDimZ = 1;
  p.kernel.blockDimX = shape.threads;
  p.kernel.sharedMemBytes = shape.shared;
  p.kernel.kernelParams = params;
  return p;
}
inline CUgraphNodeParams copy_node(CUdeviceptr to, CUdeviceptr from, std::size_t bytes) {
  CUgraphNodeParams p{};
  p.type = CU_GRAPH_NODE_TYPE_MEMCPY;
  CUDA_MEMCPY3D& c = p.memcpy.copyParams;
  c.srcMemoryType = c.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  c.srcDevice = from;
  c.dstDevice = to;
  c.WidthInBytes = bytes;
  c.Height = c.Depth = 1;
  return p;
}
inline CUgraphNodeParams fill_node(CUdeviceptr at, unsigned value, std::size_t words) {
  CUgraphNodeParams p{};
  p.type = CU_GRAPH_NODE_TYPE_MEMSET;
  p.memset.dst = at;
  p.memset.pitch = words * 4;
  p.memset.value = value;
  p.memset.elementSize = 4;
  p.memset.width = words;
  p.memset.height = 1;
  return p;
}

/// A test on a fresh device; at the end nothing may be left.
class VirtualGpu : public testing::Test {
 protected:
  void SetUp() override {
    controls().reset();
    controls().seed(0);
    ASSERT_EQ(leaks(), "");
    context = Context::retain(driver());
    current.emplace(*context);
    stream = Stream::create(context);
  }
  void TearDown() override {
    stream = {};
    current.reset();
    context.reset();
    EXPECT_EQ(leaks(), "");
    controls().reset();
    controls().seed(0);
  }

  template <class T>
  DeviceBuffer upload(const std::vector<T>& values) {
    DeviceBuffer buffer = DeviceBuffer::allocate(context, values.size() * sizeof(T));
    driver().MemcpyHtoDAsync(buffer.get(), values.data(), buffer.bytes(), stream.get());
    return buffer;
  }
  template <class T>
  std::vector<T> download(CUdeviceptr from, std::size_t count) {
    std::vector<T> values(count);
    driver().MemcpyDtoHAsync(values.data(), from, count * sizeof(T), stream.get());
    stream.synchronize();
    return values;
  }

  ContextRef context;
  std::optional<CurrentContext> current;
  Stream stream;
};

}  // namespace vgpu_test
