#include "runtime/cuda/handles/memory.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include <algorithm>

namespace monograph::cuda {
namespace {

// As Driver::fail, with what was wanted; free and total bytes are added by it.
[[noreturn]] void fail_allocation(const Driver& driver, const char* call, CUresult result,
                                  std::size_t wanted, std::string_view purpose) {
  driver.fail(fmt::format("{} of {} bytes for {}", call, wanted, purpose).c_str(), result);
}

CUmemAllocationProp device_memory(const Context& context) {
  CUmemAllocationProp prop{};
  prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  prop.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  prop.location.id = context.device();
  return prop;
}

std::size_t round_up(std::size_t bytes, std::size_t unit) {
  const std::size_t rounded = (bytes + unit - 1) / unit * unit;
  if (rounded < bytes) {
    throw Error(Code::kInvalidArgument, fmt::format("{} bytes exceed the address space", bytes));
  }
  return rounded;
}

}  // namespace

DeviceBuffer DeviceBuffer::allocate(ContextRef context, std::size_t bytes,
                                    std::string_view purpose) {
  if (bytes == 0) return {};
  const CurrentContext current(*context);
  const Driver& cu = context->driver();
  CUdeviceptr raw = 0;
  const CUresult result = cu.MemAlloc.raw(&raw, bytes);
  if (result != CUDA_SUCCESS) fail_allocation(cu, cu.MemAlloc.name(), result, bytes, purpose);
  DeviceBuffer buffer(std::move(context), raw);
  buffer.bytes_ = bytes;
  return buffer;
}

void DeviceBuffer::destroy(const Driver& driver, CUdeviceptr raw) noexcept {
  report_release(driver, driver.MemFree.name(), driver.MemFree.raw(raw));
}

PinnedBuffer PinnedBuffer::allocate(ContextRef context, std::size_t bytes,
                                    std::string_view purpose) {
  if (bytes == 0) return {};
  const CurrentContext current(*context);
  const Driver& cu = context->driver();
  void* raw = nullptr;
  const CUresult result = cu.MemHostAlloc.raw(&raw, bytes, CU_MEMHOSTALLOC_PORTABLE);
  if (result != CUDA_SUCCESS) fail_allocation(cu, cu.MemHostAlloc.name(), result, bytes, purpose);
  PinnedBuffer buffer(std::move(context), raw);
  buffer.bytes_ = bytes;
  return buffer;
}

void PinnedBuffer::destroy(const Driver& driver, void* raw) noexcept {
  report_release(driver, driver.MemFreeHost.name(), driver.MemFreeHost.raw(raw));
}

Reservation Reservation::reserve(ContextRef context, std::size_t bytes) {
  const Driver& cu = context->driver();
  cu.require(Feature::kVirtualMemory, "an arena that grows in place");
  if (!context->info().virtual_memory) {
    throw Error(
        Code::kDeviceDriverTooOld,
        fmt::format("{} does not support virtual memory reservation", context->info().name));
  }
  const CurrentContext current(*context);
  const CUmemAllocationProp prop = device_memory(*context);
  Reservation made;
  cu.MemGetAllocationGranularity(&made.granularity_, &prop, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED);
  made.reserved_ = std::max(round_up(bytes, made.granularity_), made.granularity_);
  cu.MemAddressReserve(&made.base_, made.reserved_, 0, 0, 0);
  made.context_ = std::move(context);
  return made;
}

Reservation::Reservation(Reservation&& other) noexcept {
  *this = std::move(other);
}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  if (this != &other) {
    release();
    context_ = std::move(other.context_);
    base_ = std::exchange(other.base_, 0);
    reserved_ = std::exchange(other.reserved_, 0);
    committed_ = std::exchange(other.committed_, 0);
    granularity_ = std::exchange(other.granularity_, 0);
    blocks_ = std::move(other.blocks_);
    other.blocks_.clear();
  }
  return *this;
}

Reservation::~Reservation() {
  release();
}

CUdeviceptr Reservation::base() const {
  if (base_ == 0) fail_empty("reservation");
  return base_;
}

void Reservation::grow_to(std::size_t bytes) {
  if (base_ == 0) fail_empty("reservation");
  if (bytes > reserved_) {
    throw Error(Code::kInvalidArgument,
                fmt::format("a reservation of {} bytes can't hold {}", reserved_, bytes));
  }
  if (bytes <= committed_) return;
  const CurrentContext current(*context_);
  map_block(round_up(bytes, granularity_) - committed_);
}

void Reservation::map_block(std::size_t bytes) {
  const Driver& cu = context_->driver();
  const CUmemAllocationProp prop = device_memory(*context_);
  blocks_.reserve(blocks_.size() + 1);
  Block block{0, bytes};
  const CUresult created = cu.MemCreate.raw(&block.handle, bytes, &prop, 0);
  if (created != CUDA_SUCCESS) {
    fail_allocation(cu, cu.MemCreate.name(), created, bytes, "growth of an arena");
  }
  const CUdeviceptr at = base_ + committed_;
  CUresult result = cu.MemMap.raw(at, bytes, 0, block.handle, 0);
  const char* call = cu.MemMap.name();
  if (result == CUDA_SUCCESS) {
    CUmemAccessDesc access{};
    access.location = prop.location;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    result = cu.MemSetAccess.raw(at, bytes, &access, 1);
    call = cu.MemSetAccess.name();
    if (result != CUDA_SUCCESS) {
      report_release(cu, cu.MemUnmap.name(), cu.MemUnmap.raw(at, bytes));
    }
  }
  if (result != CUDA_SUCCESS) {
    report_release(cu, cu.MemRelease.name(), cu.MemRelease.raw(block.handle));
    fail_allocation(cu, call, result, bytes, "growth of an arena");
  }
  blocks_.push_back(block);
  committed_ += bytes;
}

void Reservation::release() noexcept {
  if (base_ == 0) return;
  {
    const CurrentContext current(*context_, CurrentContext::kNoThrow);
    const Driver& cu = context_->driver();
    CUdeviceptr at = base_;
    for (const Block& block : blocks_) {
      report_release(cu, cu.MemUnmap.name(), cu.MemUnmap.raw(at, block.bytes));
      report_release(cu, cu.MemRelease.name(), cu.MemRelease.raw(block.handle));
      at += block.bytes;
    }
    report_release(cu, cu.MemAddressFree.name(), cu.MemAddressFree.raw(base_, reserved_));
  }
  blocks_.clear();
  base_ = 0;
  reserved_ = committed_ = granularity_ = 0;
  context_.reset();
}

}  // namespace monograph::cuda
