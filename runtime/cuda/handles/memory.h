// Device memory, page-locked host memory, and reservations of address space. Sizes are bytes.
#pragma once

#include <cstddef>
#include <vector>

#include "runtime/cuda/handles/handle.h"

namespace monograph::cuda {

/// One plain device allocation (256-byte aligned by the driver).
///
/// States: empty, owning. Freeing waits for work of the context in flight, as cuMemFree does, and
/// is therefore illegal while a capture in global mode is under way.
class DeviceBuffer : public Handle<DeviceBuffer, CUdeviceptr> {
 public:
  static constexpr const char* kName = "device buffer";
  DeviceBuffer() = default;
  /// `bytes` may be 0 for an empty buffer. Error(kDeviceOutOfMemory) says wanted, free and total
  /// bytes; `purpose` is a noun for its message.
  static DeviceBuffer allocate(ContextRef context, std::size_t bytes,
                               std::string_view purpose = "buffer");
  std::size_t bytes() const noexcept { return *this ? bytes_ : 0; }

 private:
  friend class Handle;
  using Handle::Handle;
  static void destroy(const Driver& driver, CUdeviceptr raw) noexcept;
  std::size_t bytes_ = 0;
};

/// Page-locked host memory that copies can read and write asynchronously.
///
/// States: empty, owning. The caller keeps it alive until copies in flight have finished.
class PinnedBuffer : public Handle<PinnedBuffer, void*> {
 public:
  static constexpr const char* kName = "pinned buffer";
  PinnedBuffer() = default;
  static PinnedBuffer allocate(ContextRef context, std::size_t bytes,
                               std::string_view purpose = "staging");
  std::byte* data() const noexcept { return *this ? static_cast<std::byte*>(get()) : nullptr; }
  std::size_t bytes() const noexcept { return *this ? bytes_ : 0; }

 private:
  friend class Handle;
  using Handle::Handle;
  static void destroy(const Driver& driver, void* raw) noexcept;
  std::size_t bytes_ = 0;
};

/// A range of device addresses that memory is mapped into from the front, so that it grows without
/// moving.
///
/// States: empty; reserved (committed() == 0); committed (0 < committed() <= reserved()).
/// reserve: empty -> reserved. grow_to: reserved or committed -> committed, never backwards.
/// Destruction unmaps and frees all. The driver does not wait for work in flight before it unmaps:
/// the owner has to (the arena does).
class Reservation {
 public:
  Reservation() = default;
  /// Reserves at least `bytes` of addresses without memory behind them. Error(kDeviceDriverTooOld)
  /// when driver or device can't.
  static Reservation reserve(ContextRef context, std::size_t bytes);
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  ~Reservation();

  explicit operator bool() const noexcept { return base_ != 0; }
  /// First address; the same for the reservation's whole life.
  CUdeviceptr base() const;
  std::size_t committed() const noexcept { return committed_; }
  std::size_t reserved() const noexcept { return reserved_; }
  const ContextRef& context() const noexcept { return context_; }
  /// Maps memory until committed() >= `bytes`; no effect if it is already. What is mapped keeps
  /// address and content. Error(kInvalidArgument) beyond reserved(), kDeviceOutOfMemory with
  /// wanted, free and total bytes; after an error the state is as before. Illegal during capture.
  void grow_to(std::size_t bytes);

 private:
  struct Block {
    CUmemGenericAllocationHandle handle;
    std::size_t bytes;
  };
  void release() noexcept;
  void map_block(std::size_t bytes);

  ContextRef context_;
  CUdeviceptr base_ = 0;
  std::size_t reserved_ = 0;
  std::size_t committed_ = 0;
  std::size_t granularity_ = 0;
  std::vector<Block> blocks_;
};

}  // namespace monograph::cuda
