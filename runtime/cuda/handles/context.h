// The primary context of a device, which LibTorch uses too.
#pragma once

#include <memory>

#include "runtime/cuda/driver.h"

namespace monograph::cuda {

class Context;
using ContextRef = std::shared_ptr<const Context>;

/// One retained use of a device's primary context.
///
/// States: retained (from `retain` to the destructor); there is no other. All handles hold a
/// ContextRef, so the primary context outlives everything made in it. Immutable; any thread.
class Context {
 public:
  /// Retains the primary context of device `ordinal`. Throws Error: kInvalidArgument (no such
  /// device), kDeviceOutOfMemory, kDevicePoisoned, kDeviceFault.
  static ContextRef retain(const Driver& driver, int ordinal = 0);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const Driver& driver() const noexcept { return driver_; }
  CUcontext get() const noexcept { return raw_; }
  CUdevice device() const noexcept { return info_.handle; }
  const DeviceInfo& info() const noexcept { return info_; }
  /// Blocks until all work of the context is done. Illegal while another thread captures in global
  /// mode; throws what the work left behind.
  void synchronize() const;

 private:
  Context(const Driver& driver, DeviceInfo info) : driver_(driver), info_(std::move(info)) {}

  const Driver& driver_;
  DeviceInfo info_;
  CUcontext raw_ = nullptr;
};

/// Makes a context current on the calling thread while it lives and restores what was current
/// before. Costs one query when the context is current already. The context must outlive it.
class CurrentContext {
 public:
  enum NoThrow { kNoThrow };
  explicit CurrentContext(const Context& context);
  /// For destructors: if the context can't be made current, the work goes on without.
  CurrentContext(const Context& context, NoThrow) noexcept;
  ~CurrentContext();
  CurrentContext(const CurrentContext&) = delete;
  CurrentContext& operator=(const CurrentContext&) = delete;

 private:
  const Driver& driver_;
  bool pushed_ = false;
};

}  // namespace monograph::cuda
