// A function of this library as a kernel of the virtual GPU, for stand-ins of libraries.
#pragma once

#include <atomic>
#include <cstddef>
#include <string>

#include "runtime/cuda/handles.h"
#include "tests/vgpu/client/host_kernel.h"

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
    registration_ = HostKernel(context_->driver(), name_, &DeviceKernel::run, this, &size, 1);
    library_ = registration_.load(context_);
    kernel_ = library_.kernel(name_);
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
  HostKernel registration_;  // outlives the library
  cuda::Library library_;
  cuda::Kernel kernel_;
};

}  // namespace monograph::vgpu
