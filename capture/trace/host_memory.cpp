#include "capture/trace/host_memory.h"

#include <ATen/ops/empty.h>

#include <cstring>

#include "capture/trace/convert.h"
#include "capture/trace/dispatch_key.h"

namespace monograph::trace {

std::uint64_t checksum(const at::Tensor& tensor) {
  return checksum(*tensor.storage().unsafeGetStorageImpl());
}

std::uint64_t checksum(const c10::StorageImpl& storage) {
  // Four independent multiplicative lanes of 8 bytes each: as fast as memory, and any change of a
  // single word changes the sum (multiplication by an odd number is a bijection).
  constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15;
  const auto* bytes = static_cast<const unsigned char*>(storage.data());
  const std::size_t size = storage.nbytes();
  std::uint64_t lanes[4] = {1, 2, 3, 4};
  std::size_t at = 0;
  for (; at + sizeof(lanes) <= size; at += sizeof(lanes)) {
    std::uint64_t words[4];
    std::memcpy(words, bytes + at, sizeof(words));
    for (int i = 0; i < 4; ++i) lanes[i] = (lanes[i] ^ words[i]) * kMultiplier;
  }
  std::uint64_t sum = size;
  for (; at < size; ++at) sum = (sum ^ bytes[at]) * kMultiplier;
  for (const std::uint64_t lane : lanes) sum = (sum ^ (lane >> 29) ^ lane) * kMultiplier;
  return sum;
}

void poison(const at::Tensor& tensor) {
  constexpr int kPattern = 0xA5;
  const std::size_t size = tensor.storage().nbytes();
  if (!tensor.device().is_cpu() || size == 0 ||
      static_cast<std::int64_t>(size) > kWatchedFactoryBytes) {
    return;
  }
  std::memset(tensor.storage().mutable_data(), kPattern, size);
}

at::Tensor copy_out(const at::Tensor& tensor, const ir::TensorType& type, std::int64_t origin) {
  const RecordingPause pause;
  const at::Tensor whole =
      at::empty({0}, tensor.options().dtype(scalar_type_of(type.dtype)))
          .set_(tensor.storage(), type.offset + origin / ir::itemsize(type.dtype), type.sizes,
                type.strides);
  if (!whole.is_non_overlapping_and_dense()) return {};
  return whole.clone();  // keeps the strides of dense tensors
}

}  // namespace monograph::trace
