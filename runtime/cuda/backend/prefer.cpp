#include "runtime/cuda/backend/prefer.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/fusion/linear.h"

namespace monograph::cuda {

namespace {

// Shares of their rooflines that kernels reach, times below which they don't come, and what the
// registry counts an operation outside the tensor cores as. Ours of attention, as measured alone on
// an H100: 9 us for a BERT layer and 20 for a ViT layer without tensor cores, 2.5 and 4.3 with
// them, 14 for eight ViT pictures, 10 to 14 for 512 tokens of twelve heads, 82 for 1,024 of 32.
// LibTorch's flash kernel, its launch's overhead and the copy of its result took 9 us a ViT layer
// longer than ours there.
constexpr double kOwnAttention = 0.08;
constexpr double kOwnPrefill = 0.23;      // up to kOneRound keys
constexpr double kOwnLongPrefill = 0.09;  // beyond
constexpr std::int64_t kOneRound = 256;   // keys that a block's warps hold at once
constexpr double kLeastPrefill = 2.5;
constexpr double kFlashAttention = 0.4;
constexpr double kLeastFlash = 9;
constexpr double kLeastCopy = 2.5;
constexpr std::int64_t kLeastQueries = 64;  // fewer are bound by memory, which ours is made for
constexpr double kOwnProduct = 0.35;
constexpr double kLibraryProduct = 0.7;
// Small products are bound by the way to L2. On an H100, in chains of launches, cuBLASLt's and GELU
// took 5.6, 6.9 and 7.9 us for MiniLM, BERT and ViT, the product alone 3.8, 5.2 and 5.3; ours, of
// which every block reads its rows of both operands, 7, 22 and 31 MB in all, took 2.8, 4.9 and 9.1.
constexpr double kOwnStart = 1;
constexpr double kOwnBytesPerUs = 3.9e6;
constexpr double kLeastLibraryProduct = 5.2;
constexpr double kLeastPointwise = 0.8;
constexpr std::int64_t kTileRows = 16;  // that of tiles is a multiple of
constexpr std::int64_t kTileColumns = 8;
constexpr double kScalarCost = 16;

std::string attention_elsewhere(const kernels::Call& call, const kernels::Instance& own,
                                const kernels::Target& target) {
  // With a mask, LibTorch has no flash kernel.
  constexpr std::size_t kOperandsWithoutMask = 3;
  const kernels::TensorDesc& q = call.inputs.front();
  if (call.inputs.size() != kOperandsWithoutMask || !kernels::is_half(q.dtype) ||
      q.sizes.size() < 2 || q.sizes[q.sizes.size() - 2] < kLeastQueries) {
    return {};
  }
  const bool prefill = own.kernel == "prefill_attention";
  const double predicted_us = own.roofline.predicted_us(target);
  const kernels::TensorDesc& k = call.inputs[1];
  const std::int64_t keys = k.sizes.size() < 2 ? 0 : k.sizes[k.sizes.size() - 2];
  const double share = !prefill ? kOwnAttention : keys > kOneRound ? kOwnLongPrefill : kOwnPrefill;
  const double own_us = std::max(prefill ? kLeastPrefill : 0.0, predicted_us / share);
  kernels::Roofline flash = own.roofline;
  if (!prefill) flash.flops /= kScalarCost;
  const auto result = static_cast<double>(call.outputs.front().nbytes());
  const double flash_us = std::max(kLeastFlash, flash.predicted_us(target) / kFlashAttention) +
                          target.boundary_us +
                          std::max(kLeastCopy, 2 * result / target.read_bytes_per_us);
  if (flash_us >= own_us) return {};
  return fmt::format("LibTorch's flash attention: {:.1f} us with a copy, our kernel {:.1f}",
                     flash_us, own_us);
}

/// What the blocks of our kernel read, each the vectors and the rows of the weight of its tile.
double bytes_of_tiles(const kernels::fusion::LinearCall& linear,
                      const kernels::Geometry& geometry) {
  const auto up = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
  const std::int64_t down = geometry.grid[1];
  const std::int64_t across = geometry.grid[0];
  const std::int64_t vectors = up(up(linear.m, down), kTileRows) * kTileRows;
  const std::int64_t units = up(up(linear.units, across), kTileColumns) * kTileColumns;
  return static_cast<double>(down * across * (vectors + linear.parts * units) * linear.k *
                             kernels::itemsize(linear.dtype));
}

/// A product by a library, and what follows it in a launch of its own.
std::string product_in_two(const kernels::Call& call, const kernels::Instance& own,
                           const kernels::Target& target) {
  if (!call.body) return {};
  std::string why;
  const auto linear = kernels::fusion::find_linear(call, &why);
  if (!linear) return {};
  const auto product = static_cast<double>(linear->m * linear->units * linear->parts *
                                           kernels::itemsize(linear->dtype));
  const auto us = [&](double share) {
    kernels::Roofline r = own.roofline;
    r.flops /= share;
    return r.predicted_us(target);
  };
  const double own_us =
      std::max(us(kOwnProduct), kOwnStart + bytes_of_tiles(*linear, own.geometry) / kOwnBytesPerUs);
  const double two_us = std::max(us(kLibraryProduct), kLeastLibraryProduct) + target.boundary_us +
                        std::max(2 * product / target.read_bytes_per_us, kLeastPointwise);
  if (own_us <= two_us) return {};
  return fmt::format("a library's product and a kernel after it: {:.1f} us, our kernel {:.1f}",
                     two_us, own_us);
}

}  // namespace

bool is_attention(const kernels::Instance& own) {
  return own.kernel == "attention" || own.kernel == "prefill_attention";
}

std::string why_library(const kernels::Call& call, const kernels::Instance& own,
                        const kernels::Target& target) {
  if (is_attention(own)) return attention_elsewhere(call, own, target);
  if (own.kernel == kLibraryFirst) return product_in_two(call, own, target);
  return {};
}

}  // namespace monograph::cuda
