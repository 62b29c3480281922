// Differences between results.
#pragma once

#include <ATen/core/TensorBody.h>

#include <string>
#include <vector>

namespace monograph::cli {

struct Difference {
  double max_abs = 0;     ///< over all tensors; infinity where NaN or infinities don't match
  std::string complaint;  ///< empty if everything agrees within the tolerances
};

/// Compares tensor by tensor, in f64: |a - b| <= atol + rtol * |b|, NaN only where `wanted` has it.
/// f16 is given 20 times the tolerance, bf16 160 times.
Difference compare(const std::vector<at::Tensor>& got, const std::vector<at::Tensor>& wanted,
                   double rtol, double atol);

}  // namespace monograph::cli
