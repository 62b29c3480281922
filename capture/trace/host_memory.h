// Host memory that C++ code writes without LibTorch's knowledge (accessor, data_ptr, memcpy).
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <vector>

#include "capture/ir/types.h"

namespace monograph::trace {

/// Largest host storage whose contents are checked at every use, in bytes: intermediates in
/// general, and those that come from factories (masks, position tables), which C++ code likes to
/// fill by pointer.
inline constexpr std::int64_t kWatchedBytes = std::int64_t{64} << 10;
inline constexpr std::int64_t kWatchedFactoryBytes = std::int64_t{64} << 20;

/// Checksum of the bytes of the storage of `tensor`, which must be on the host.
std::uint64_t checksum(const at::Tensor& tensor);
std::uint64_t checksum(const c10::StorageImpl& storage);

/// Bytes of host memory.
struct ByteSpan {
  const unsigned char* data = nullptr;
  std::size_t size = 0;
};
/// A checksum of each, large ones cut into pieces for as many threads as LibTorch uses: reading
/// all of a model's weights is what a trace waits for.
std::vector<std::uint64_t> checksums(const std::vector<ByteSpan>& spans);

/// Fills the storage of a host tensor with undefined contents, if it isn't larger than
/// kWatchedFactoryBytes, so that what the host writes there differs from what was there before
/// even if memory of the last forward came back.
void poison(const at::Tensor& tensor);

/// A dense copy of the tensor of `type` (whose offset counts from byte `origin`) in the storage of
/// `tensor`; undefined if that tensor has gaps. Isn't recorded.
at::Tensor copy_out(const at::Tensor& tensor, const ir::TensorType& type, std::int64_t origin);

}  // namespace monograph::trace
