// What the executables of one module share on a device.
#pragma once

#include <monograph/options.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "kernels/compile/compiler.h"
#include "kernels/registry.h"
#include "runtime/cuda/backend/provider.h"
#include "runtime/cuda/graph/arena.h"
#include "runtime/cuda/handles.h"
#include "runtime/cuda/library/planner.h"
#include "runtime/cuda/tune/gate.h"

namespace monograph::cuda {

/// Context, arena, a stream of its own and the kernel compiler. Shared ownership; thread-safe.
///
/// Whatever uses the arena or the session's stream holds a Turn meanwhile.
class DeviceSession {
 public:
  class Turn;

  /// Opens the driver that `options` name. Throws Error(kDevice*).
  static std::shared_ptr<DeviceSession> open(const Options& options);

  const ContextRef& context() const noexcept { return context_; }
  const std::shared_ptr<Arena>& arena() const noexcept { return arena_; }
  const kernels::Target& target() const noexcept { return target_; }
  const kernels::Compiler& compiler() const noexcept { return compiler_; }
  /// Chooses among alternatives for a launch by timing; off on the virtual GPU unless asked for.
  Tuner& tuner() const noexcept { return *tuner_; }
  /// Builds whole graphs; off unless asked for.
  Gate& gate() const noexcept { return *gate_; }
  LibraryPlanner& libraries() const noexcept { return *libraries_; }
  CUstream stream() const { return stream_.get(); }
  /// What the session's calls of `provider`'s share; made when first asked for.
  std::shared_ptr<AtenShared> aten_shared(const AtenProvider& provider) const;

  /// Throws Error(kDevicePoisoned) with advice if a sticky error has been seen.
  void check_alive() const;
  /// Waits for the newest replay of the session, whichever executable's it is. Doesn't throw: a
  /// lost context has no work in flight.
  void drain() noexcept;

 private:
  DeviceSession(ContextRef context, const Options& options);

  ContextRef context_;
  kernels::Target target_;
  kernels::Compiler compiler_;
  std::shared_ptr<Tuner> tuner_;
  std::unique_ptr<Gate> gate_;
  std::unique_ptr<LibraryPlanner> libraries_;
  std::shared_ptr<Arena> arena_;
  Stream stream_;
  mutable std::once_flag shared_once_;
  mutable std::shared_ptr<AtenShared> aten_shared_;
  std::mutex mutex_;
  Event last_;  // after the newest replay, if that was on a stream of somebody else
  std::optional<CUstream> last_stream_;
};

/// The right to use a session's arena from `stream`, one holder at a time: replays of a session
/// follow each other on the device too, since `stream` waits for the newest replay if that was on
/// another stream. `finish` ends a turn that went well; without it, the work that was enqueued is
/// waited for.
class DeviceSession::Turn {
 public:
  Turn(DeviceSession& session, CUstream stream);
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  void finish();

 private:
  DeviceSession& session_;
  std::lock_guard<std::mutex> lock_;
  CUstream stream_;
  bool finished_ = false;
};

/// Name of the driver library that `options` and the environment ask for.
std::string driver_library(const Options& options);

/// The back end's own options: "cuda.tuning" and "cuda.gate" are "on" or "off".
inline constexpr const char* kTuningOption = "tuning";
inline constexpr const char* kGateOption = "gate";

}  // namespace monograph::cuda
