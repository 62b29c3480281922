// Where the weights of a program lie in the storages that its tensors have, and what keeps state.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "runtime/cuda/handles.h"
#include "runtime/exec/backend.h"

namespace monograph::cuda {

/// By name of a weight: bytes by which its tensor begins later in its storage than the program says
/// (a program traced on a view of a weight knows it at another place). Throws
/// Error(kInvalidArgument) for a tensor that isn't there or has another layout than the program
/// says, and for weights that should share memory but don't.
std::map<std::string, std::int64_t> weight_shifts(const exec::Planned& planned);

/// Copies of memory that has to be what it was when this goes, whatever happens meanwhile on
/// `stream`.
class StateKeeper {
 public:
  StateKeeper(ContextRef context, CUstream stream)
      : context_(std::move(context)), stream_(stream) {}
  /// Waits, and puts everything back as far as the device lets it.
  ~StateKeeper();
  StateKeeper(const StateKeeper&) = delete;
  StateKeeper& operator=(const StateKeeper&) = delete;

  void keep(CUdeviceptr at, std::size_t bytes, const std::string& name);
  /// Enqueues what puts everything back; it is kept further.
  void put_back() const;
  /// Puts everything back and waits; throws if it can't.
  void restore();

 private:
  struct Kept {
    CUdeviceptr at;
    DeviceBuffer copy;
  };
  ContextRef context_;
  CUstream stream_;
  std::vector<Kept> kept_;
};

}  // namespace monograph::cuda
