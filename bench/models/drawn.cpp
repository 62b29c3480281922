#include "bench/models/drawn.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <fmt/format.h>
#include <monograph/error.h>

namespace monograph::bench {
namespace {

constexpr double kDeviation = 0.02;  // of what language models start from

thread_local bool unwritten = false;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31U);
}

/// Sum of the four 16-bit parts, centred: of mean 0 and deviation 1.
float bell(std::uint64_t bits) {
  constexpr std::uint64_t kPart = 0xffff;
  constexpr float kMean = 2 * 65535.0F;
  constexpr float kOne = 37837.22F;  // sqrt(4 (2^32 - 1) / 12)
  const auto sum =
      (bits & kPart) + (bits >> 16U & kPart) + (bits >> 32U & kPart) + (bits >> 48U & kPart);
  return (static_cast<float>(sum) - kMean) / kOne;
}

template <class T>
void fill(const at::Tensor& tensor, double deviation, std::uint64_t seed) {
  T* const data = tensor.mutable_data_ptr<T>();
  const auto scale = static_cast<float>(deviation);
  constexpr std::int64_t kGrain = 1 << 16;
  at::parallel_for(0, tensor.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      data[i] = static_cast<T>(scale * bell(mix(seed + static_cast<std::uint64_t>(i))));
    }
  });
}

}  // namespace

UnwrittenWeights::UnwrittenWeights() noexcept : before_(unwritten) {
  unwritten = true;
}
UnwrittenWeights::~UnwrittenWeights() {
  unwritten = before_;
}

void draw_bell(const at::Tensor& tensor, double deviation) {
  if (unwritten) return;
  if (!tensor.device().is_cpu() || !tensor.is_contiguous()) {
    throw Error(Code::kInvalidArgument, "only dense tensors on the CPU can be drawn");
  }
  auto generator = at::detail::getDefaultCPUGenerator();
  const std::uint64_t seed = mix(at::check_generator<at::CPUGeneratorImpl>(generator)->random64());
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return fill<float>(tensor, deviation, seed);
    case at::kDouble:
      return fill<double>(tensor, deviation, seed);
    case at::kHalf:
      return fill<c10::Half>(tensor, deviation, seed);
    case at::kBFloat16:
      return fill<c10::BFloat16>(tensor, deviation, seed);
    default:
      throw Error(Code::kInvalidArgument,
                  fmt::format("{} can't be drawn", c10::toString(tensor.scalar_type())));
  }
}

ProjectionImpl::ProjectionImpl(std::int64_t in, std::int64_t out, at::ScalarType dtype) {
  weight = register_parameter("weight", at::empty({out, in}, dtype), /*requires_grad=*/false);
  draw_bell(weight, kDeviation);
}

at::Tensor ProjectionImpl::forward(const at::Tensor& x) {
  return at::linear(x, weight);
}

TableImpl::TableImpl(std::int64_t rows, std::int64_t width, at::ScalarType dtype) {
  weight = register_parameter("weight", at::empty({rows, width}, dtype), /*requires_grad=*/false);
  draw_bell(weight, kDeviation);
}

at::Tensor TableImpl::forward(const at::Tensor& indices) {
  return at::embedding(weight, indices);
}

}  // namespace monograph::bench
