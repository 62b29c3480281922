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
// Small products are bound by what follows on each other. cuBLASLt's take 5 to 6 us and a pointwise
// kernel 2.5. On an H100 ours took 0.3 us a layer longer than the two for rows of 384 elements
// (MiniLM), 8.3 for rows of 768 and 128 vectors (BERT), and 13.5 for 197 (ViT).
constexpr double kOwnElement = 0.024;
constexpr double kLeastLibraryProduct = 5.5;
constexpr double kLeastPointwise = 2.5;
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

/// A product by a library, and what follows it in a launch of its own.
std::string product_in_two(const kernels::Call& call, const kernels::Instance& own,
                           const kernels::Target& target) {
  if (!call.body) return {};
  std::string why;
  const auto linear = kernels::fusion::find_linear(call, &why);
  if (!linear) return {};
  const auto product = static_cast<double>(linear->m * linear->units * linear->parts *
                                           kernels::itemsize(linear->dtype));
  const auto elements = static_cast<double>(linear->k);  // of a row of the weight
  const auto us = [&](double share) {
    kernels::Roofline r = own.roofline;
    r.flops /= share;
    return r.predicted_us(target);
  };
  const double own_us = std::max(us(kOwnProduct), kOwnElement * elements);
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
