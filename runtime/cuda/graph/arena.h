// Device memory shared by all executables of a session.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/cuda/handles.h"

namespace monograph::cuda {

/// One arena per session, sized to the largest plan; every shape uses its front. Grows without
/// moving where the device has virtual-memory reservation; elsewhere `ensure` beyond the first
/// size fails and the caller takes a buffer of its own. With an allocator of somebody else a plan
/// that is larger than all before gets a new block; what was built keeps the old one.
///
/// Thread-safe. Shared ownership: lives as long as the last executable. Destruction waits for the
/// work in flight of the context.
class Arena {
 public:
  /// A block of at least the given bytes, aligned as cuMemAlloc does; goes with the last reference.
  using Block = std::shared_ptr<void>;
  using Allocator = std::function<Block(std::size_t bytes)>;
  static std::shared_ptr<Arena> create(ContextRef context, Allocator allocator);
  /// `reserve_bytes` of addresses (no memory yet); rounded up by the driver.
  static std::shared_ptr<Arena> create(ContextRef context, std::size_t reserve_bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// Makes the first `bytes` usable and returns the base, which never changes once memory is there
  /// (with an allocator: what it has returned stays usable).
  /// Error(kDeviceOutOfMemory) with wanted, free and total bytes, leaving the arena as it was.
  /// `shape` names the plan for that message.
  CUdeviceptr ensure(std::size_t bytes, const std::string& shape);
  std::size_t committed() const;

 private:
  explicit Arena(ContextRef context) : context_(std::move(context)) {}

  CUdeviceptr take_block(std::size_t bytes);

  mutable std::mutex mutex_;
  ContextRef context_;
  Reservation reservation_;
  DeviceBuffer buffer_;  // without virtual memory
  Allocator allocator_;  // or with blocks of its own, each larger than the last
  std::vector<std::pair<Block, std::size_t>> blocks_;
};

}  // namespace monograph::cuda
