// A function that the virtual GPU knows as a kernel.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "runtime/cuda/handles.h"
#include "tests/vgpu/vgpu.h"

namespace monograph::vgpu {

/// Registered under its name while it lives.
class HostKernel {
 public:
  using Function = int (*)(void** params, void* user);

  HostKernel() = default;
  HostKernel(const cuda::Driver& driver, std::string name, Function function, void* user,
             const std::size_t* parameter_bytes, std::size_t parameters)
      : driver_(&driver), name_(std::move(name)) {
    control<decltype(&vgpu_register_host_kernel)>("vgpu_register_host_kernel")(
        name_.c_str(), function, user, parameter_bytes, parameters);
  }
  ~HostKernel() {
    if (driver_ == nullptr) return;
    control<decltype(&vgpu_unregister_host_kernel)>("vgpu_unregister_host_kernel")(name_.c_str());
  }
  HostKernel(HostKernel&& other) noexcept
      : driver_(std::exchange(other.driver_, nullptr)), name_(std::move(other.name_)) {}
  HostKernel& operator=(HostKernel&& other) noexcept {
    std::swap(driver_, other.driver_);
    std::swap(name_, other.name_);
    return *this;
  }

  cuda::Library load(const cuda::ContextRef& context) const {
    const std::string image = "vgpu-host:" + name_;
    return cuda::Library::load(
        context, {reinterpret_cast<const std::byte*>(image.c_str()), image.size() + 1});
  }

 private:
  template <class Fn>
  Fn control(const char* name) const {
    return reinterpret_cast<Fn>(driver_->extension(name));
  }

  const cuda::Driver* driver_ = nullptr;
  std::string name_;
};

}  // namespace monograph::vgpu
