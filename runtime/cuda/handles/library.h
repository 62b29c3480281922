// Kernel images and the kernels in them.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "runtime/cuda/handles/handle.h"

namespace monograph::cuda {

/// A kernel of a loaded library, ready to launch: its code is on the device already, so that no
/// lazy load happens inside a capture. A plain value; valid while its Library lives. Any thread,
/// except for `allow_dynamic_shared`.
class Kernel {
 public:
  struct Param {
    std::size_t offset, size;  ///< bytes in the parameter block
  };

  Kernel() = default;
  CUkernel get() const noexcept { return kernel_; }
  /// For launches: entry points that take a CUfunction.
  CUfunction function() const noexcept { return function_; }
  const std::string& name() const noexcept { return name_; }

  /// Raises the kernel's limit of dynamic shared memory; needed above 48 KiB. Error(kDeviceFault)
  /// beyond what the device has.
  void allow_dynamic_shared(std::size_t bytes);
  int attribute(CUfunction_attribute which) const;
  /// Layout of the parameters as the image states it. Needs Feature::kParamInfo.
  std::vector<Param> params() const;
  /// Resident blocks per multiprocessor at this launch shape. Needs Feature::kOccupancy.
  int max_active_blocks(int block_threads, std::size_t dynamic_shared_bytes) const;

 private:
  friend class Library;
  const Context* context_ = nullptr;
  CUkernel kernel_ = nullptr;
  CUfunction function_ = nullptr;
  std::string name_;
};

/// A loaded image (a cubin, or a host image for the virtual GPU).
///
/// States: empty, loaded. Unloading while work of its kernels is in flight is an error of the
/// caller: graphs that hold its kernels must be destroyed before and their work finished.
class Library : public Handle<Library, CUlibrary> {
 public:
  static constexpr const char* kName = "kernel library";
  Library() = default;
  /// Loads `image`, which is not needed afterwards. Illegal during capture.
  static Library load(ContextRef context, std::span<const std::byte> image);
  /// Finds `name` and loads its code to the device. Error(kDeviceFault) if there is none.
  Kernel kernel(const std::string& name) const;

 private:
  friend class Handle;
  using Handle::Handle;
  static void destroy(const Driver& driver, CUlibrary raw) noexcept;
};

}  // namespace monograph::cuda
