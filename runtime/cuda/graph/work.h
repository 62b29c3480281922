// What a launch does on the device, before it is a graph node or a call on a stream.
#pragma once

#include <cuda.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "runtime/cuda/handles.h"
#include "runtime/plan/plan.h"

namespace monograph::cuda {

/// A device address: fixed, or relative to a caller's input or output or a weight, which may move.
struct Address {
  enum class Base : std::uint8_t { kFixed, kInput, kOutput, kWeight };
  Base base = Base::kFixed;
  std::int32_t slot = -1;   ///< input, output or weight index
  std::uint64_t value = 0;  ///< the address, or the byte offset from the slot's first byte

  static Address fixed(CUdeviceptr p) { return {Base::kFixed, -1, p}; }
  static Address input(std::int32_t slot, std::uint64_t offset) {
    return {Base::kInput, slot, offset};
  }
  static Address output(std::int32_t slot, std::uint64_t offset) {
    return {Base::kOutput, slot, offset};
  }
  static Address weight(std::int32_t slot, std::uint64_t offset) {
    return {Base::kWeight, slot, offset};
  }
  bool moves() const noexcept { return base != Base::kFixed; }
};

/// A kernel parameter: plain bytes, or an address.
using ParamValue = std::variant<std::vector<std::byte>, Address>;

struct KernelWork {
  Kernel kernel;
  std::array<std::uint32_t, 3> grid{1, 1, 1};
  std::array<std::uint32_t, 3> block{1, 1, 1};
  std::uint32_t dynamic_shared_bytes = 0;
  /// The kernel waits for its predecessors by itself (griddepcontrol.wait) and tells its
  /// successors when they may start.
  bool programmatic = false;
  std::vector<ParamValue> params;
};

struct CopyWork {
  Address from, to;
  std::size_t bytes = 0;
};

struct FillWork {
  Address to;
  std::size_t bytes = 0;
  std::uint8_t value = 0;
};

/// A call into a library (cuBLASLt, a kernel of LibTorch) that can only be had by capturing what it
/// enqueues. Must not synchronise, allocate from the driver or free inside `enqueue`.
class LibraryCall {
 public:
  virtual ~LibraryCall() = default;
  /// Enqueues the work on `stream`. Called several times: to warm up, inside the capture, and on
  /// every replay in stream mode. What it reads has been computed, except inside a capture.
  virtual void enqueue(CUstream stream) = 0;
  /// Times the whole plan has to run before this may be captured (handles, plans, lazy loading).
  virtual int warm_up_runs() const { return 2; }
  /// Brackets the capture: allocator pools and the like are set up and taken down here. Called in
  /// pairs, also when the capture fails.
  virtual void before_capture(CUstream) {}
  virtual void after_capture(CUstream) noexcept {}
};

struct LibraryWork {
  std::shared_ptr<LibraryCall> call;
};

/// A launch that runs nothing (empty tensors).
struct EmptyWork {};

/// One plan launch.
struct Work {
  plan::LaunchId launch = -1;
  std::string node;  ///< for errors
  std::variant<KernelWork, CopyWork, FillWork, LibraryWork, EmptyWork> what;
};

}  // namespace monograph::cuda
