#include "capture/trace/host_memory.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <system_error>
#include <thread>

#include "capture/trace/convert.h"
#include "capture/trace/dispatch_key.h"

namespace monograph::trace {
namespace {

constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15;

/// Keeps `lane` in a general register: vectors of AVX2 have no product of 64 bits, and what
/// compilers make of one takes five times as long.
inline void keep_scalar(std::uint64_t& lane) {
#ifdef __GNUC__
  asm("" : "+r"(lane));
#endif
}

std::uint64_t sum_of(ByteSpan bytes) {
  // Four independent multiplicative lanes of 8 bytes each: as fast as memory, and any change of a
  // single word changes the sum (multiplication by an odd number is a bijection).
  std::uint64_t lanes[4] = {1, 2, 3, 4};
  std::size_t at = 0;
  for (; at + sizeof(lanes) <= bytes.size; at += sizeof(lanes)) {
    std::uint64_t words[4];
    std::memcpy(words, bytes.data + at, sizeof(words));
    for (int i = 0; i < 4; ++i) {
      lanes[i] = (lanes[i] ^ words[i]) * kMultiplier;
      keep_scalar(lanes[i]);
    }
  }
  std::uint64_t sum = bytes.size;
  for (; at < bytes.size; ++at) sum = (sum ^ bytes.data[at]) * kMultiplier;
  for (const std::uint64_t lane : lanes) sum = (sum ^ (lane >> 29) ^ lane) * kMultiplier;
  return sum;
}

}  // namespace

std::uint64_t checksum(const at::Tensor& tensor) {
  return checksum(*tensor.storage().unsafeGetStorageImpl());
}

std::uint64_t checksum(const c10::StorageImpl& storage) {
  return sum_of({static_cast<const unsigned char*>(storage.data()), storage.nbytes()});
}

std::vector<std::uint64_t> checksums(const std::vector<ByteSpan>& spans) {
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  constexpr std::size_t kPiecesPerThread = 4;  // fewer aren't worth starting one
  struct Piece {
    std::size_t span;
    ByteSpan bytes;
    std::uint64_t sum;
  };
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    for (std::size_t at = 0; at < spans[i].size; at += kPiece) {
      pieces.push_back({i, {spans[i].data + at, std::min(kPiece, spans[i].size - at)}, 0});
    }
  }
  std::atomic<std::size_t> next = 0;
  const auto work = [&pieces, &next] {
    for (std::size_t i = next++; i < pieces.size(); i = next++) {
      pieces[i].sum = sum_of(pieces[i].bytes);
    }
  };
  const std::size_t useful = std::min<std::size_t>(pieces.size() / kPiecesPerThread,
                                                   static_cast<std::size_t>(at::get_num_threads()));
  std::vector<std::jthread> helpers;  // joined before anything that they use goes
  try {
    for (std::size_t i = 1; i < useful; ++i) helpers.emplace_back(work);
  } catch (const std::system_error&) {  // no thread to be had: this one does the work
  }
  work();
  helpers.clear();
  std::vector<std::uint64_t> sums(spans.size());
  for (const Piece& piece : pieces) {
    sums[piece.span] = (sums[piece.span] ^ piece.sum) * kMultiplier;
  }
  return sums;
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
