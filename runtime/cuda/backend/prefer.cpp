#include "runtime/cuda/backend/prefer.h"

#include <fmt/format.h>

namespace monograph::cuda {

std::string why_library(const kernels::Call& call, const kernels::Instance& own,
                        const kernels::Target& target) {
  // With a mask, LibTorch has no flash kernel.
  constexpr std::size_t kOperandsWithoutMask = 3;
  if (own.kernel != "attention" || call.inputs.size() != kOperandsWithoutMask ||
      !kernels::is_half(call.inputs.front().dtype)) {
    return {};
  }
  // Shares of their rooflines that such kernels reach, and what the registry counts an operation
  // outside the tensor cores as.
  constexpr double kOwnShare = 0.5;
  constexpr double kFlashShare = 0.4;
  constexpr double kScalarCost = 16;
  const double own_us = own.roofline.predicted_us(target) / kOwnShare;
  kernels::Roofline flash = own.roofline;
  flash.flops /= kScalarCost;
  const auto result = static_cast<double>(call.outputs.front().nbytes());
  const double flash_us = flash.predicted_us(target) / kFlashShare + target.boundary_us +
                          2 * result / target.read_bytes_per_us;
  if (flash_us >= own_us) return {};
  return fmt::format("LibTorch's flash attention: {:.1f} us with a copy, our kernel {:.1f}",
                     flash_us, own_us);
}

}  // namespace monograph::cuda
