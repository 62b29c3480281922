// A function of this library as a kernel of the virtual GPU, for stand-ins of libraries.
#pragma once

#include <atomic>
#include <cstddef>
#include <string>

#include "runtime/cuda/handles.h"
#include "tests/vgpu/vgpu.h"

namespace monograph::vgpu {

/// `Fn` takes a `Params` by reference; launched, it gets a copy of what was given at the launch.
template <class Params>
class DeviceKernel {
 public:
  using Function = void (*)(const Params&);

  DeviceKernel(cuda::ContextRef context, const std::string& name, Function function)
      : context_(std::move(context)), function_(function), name_(name) {
    static std::atomic<unsigned> next{0};
    name_ += "_" + std::to_string(next++);
    const std::size_t size = sizeof(Params);
    control<decltype(&vgpu_register_host_kernel)>("vgpu_register_host_kernel")(
        name_.c_str(), &DeviceKernel::run, this, &size, 1);
    const std::string image = "vgpu-host:" + name_;
    library_ = cuda::Library::load(
        context_, {reinterpret_cast<const std::byte*>(image.c_str()), image.size() + 1});
    kernel_ = library_.kernel(name_);
  }
  ~DeviceKernel() {
    library_ = {};
    control<decltype(&vgpu_unregister_host_kernel)>("vgpu_unregister_host_kernel")(name_.c_str());
  }
  DeviceKernel(const DeviceKernel&) = delete;
  DeviceKernel& operator=(const DeviceKernel&) = delete;

  void launch(Params params, CUstream stream) {
    CUlaunchConfig config{};
    config.gridDimX = config.gridDimY = config.gridDimZ = 1;
    config.blockDimX = config.blockDimY = config.blockDimZ = 1;
    config.hStream = stream;
    void* values[] = {&params};
    context_->driver().LaunchKernelEx(&config, kernel_.function(), values, nullptr);
  }

 private:
  template <class Fn>
  Fn control(const char* name) const {
    return reinterpret_cast<Fn>(context_->driver().extension(name));
  }
  static int run(void** params, void* user) {
    try {
      static_cast<DeviceKernel*>(user)->function_(*static_cast<const Params*>(params[0]));
      return 0;
    } catch (const std::exception& e) {
      std::fprintf(stderr, "virtual GPU: %s\n", e.what());
      return 1;
    }
  }

  cuda::ContextRef context_;
  Function function_;
  std::string name_;
  cuda::Library library_;
  cuda::Kernel kernel_;
};

}  // namespace monograph::vgpu
