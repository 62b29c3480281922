#include "runtime/cuda/graph/arena.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include "runtime/cuda/graph/capture_scope.h"

namespace monograph::cuda {

std::shared_ptr<Arena> Arena::create(ContextRef context, std::size_t reserve_bytes) {
  std::shared_ptr<Arena> arena(new Arena(context));
  if (context->info().virtual_memory && context->driver().has(Feature::kVirtualMemory)) {
    arena->reservation_ = Reservation::reserve(context, reserve_bytes);
  }
  return arena;
}

std::shared_ptr<Arena> Arena::create(ContextRef context, Allocator allocator) {
  std::shared_ptr<Arena> arena(new Arena(std::move(context)));
  arena->allocator_ = std::move(allocator);
  return arena;
}

Arena::~Arena() {
  // Unmapping doesn't wait for work in flight; a failed wait means that the context is lost, and
  // with it the memory.
  const CurrentContext current(*context_, CurrentContext::kNoThrow);
  (void)synchronize_between_captures(*context_);
}

CUdeviceptr Arena::ensure(std::size_t bytes, const std::string& shape) {
  const std::lock_guard lock(mutex_);
  try {
    if (allocator_) return take_block(bytes);
    if (reservation_) {
      reservation_.grow_to(bytes);
      return reservation_.base();
    }
    if (bytes > buffer_.bytes()) {
      if (buffer_) {
        throw Error(Code::kDeviceOutOfMemory,
                    fmt::format("this device can't grow an arena in place from {} to {} bytes",
                                buffer_.bytes(), bytes));
      }
      buffer_ = DeviceBuffer::allocate(context_, bytes, "arena");
    }
    return bytes == 0 ? 0 : buffer_.get();
  } catch (const Error& e) {
    throw Error(e.code(), fmt::format("arena of {} bytes for {}: {}", bytes, shape, e.message()),
                e.node(), e.driver_text());
  }
}

CUdeviceptr Arena::take_block(std::size_t bytes) {
  if (bytes == 0) return 0;
  if (blocks_.empty() || bytes > blocks_.back().second) {
    blocks_.reserve(blocks_.size() + 1);
    blocks_.emplace_back(allocator_(bytes), bytes);
  }
  return reinterpret_cast<CUdeviceptr>(blocks_.back().first.get());
}

std::size_t Arena::committed() const {
  const std::lock_guard lock(mutex_);
  if (allocator_) {
    std::size_t sum = 0;
    for (const auto& [block, bytes] : blocks_) sum += bytes;
    return sum;
  }
  return reservation_ ? reservation_.committed() : buffer_.bytes();
}

}  // namespace monograph::cuda
