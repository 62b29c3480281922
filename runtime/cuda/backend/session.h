// What the executables of one module share on a device.
#pragma once

#include <monograph/options.h>

#include <memory>
#include <mutex>
#include <string>

#include "kernels/compile/compiler.h"
#include "kernels/registry.h"
#include "runtime/cuda/graph/arena.h"
#include "runtime/cuda/handles.h"

namespace monograph::cuda {

/// Context, arena, a stream of its own and the kernel compiler. Shared ownership; thread-safe.
///
/// Replays of a session share the arena, so they follow each other: `enter` makes a stream wait for
/// the last replay if that ran on another stream, `leave` notes where the newest one is.
class DeviceSession {
 public:
  /// Opens the driver that `options` name. Throws Error(kDevice*).
  static std::shared_ptr<DeviceSession> open(const Options& options);

  const ContextRef& context() const noexcept { return context_; }
  const std::shared_ptr<Arena>& arena() const noexcept { return arena_; }
  const kernels::Target& target() const noexcept { return target_; }
  const kernels::Compiler& compiler() const noexcept { return compiler_; }
  CUstream stream() const { return stream_.get(); }

  /// Throws Error(kDevicePoisoned) with advice if a sticky error has been seen.
  void check_alive() const;
  void enter(CUstream stream);
  void leave(CUstream stream);

 private:
  DeviceSession(ContextRef context, const Options& options);

  ContextRef context_;
  kernels::Target target_;
  kernels::Compiler compiler_;
  std::shared_ptr<Arena> arena_;
  Stream stream_;
  std::mutex mutex_;
  Event last_;
  CUstream last_stream_ = nullptr;
};

/// Name of the driver library that `options` and the environment ask for.
std::string driver_library(const Options& options);

}  // namespace monograph::cuda
