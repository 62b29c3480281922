// Whether two lists of tensors hold the same numbers.
#pragma once

#include <ATen/core/TensorBody.h>

#include <optional>
#include <string>
#include <vector>

namespace monograph::inspect {

/// Values a and b count as equal if |a - b| <= absolute + relative * |b|, or if both are NaN, or
/// the same infinity.
struct Tolerance {
  double relative = 1e-4;
  double absolute = 1e-5;
};

/// What is different first: "output 1: 3 of 12 elements differ, most at [0, 2]: 1.5, expected 2".
/// nullopt if nothing is. Any numbers of tensors, sizes and dtypes; a difference in these is one.
std::optional<std::string> difference(const std::vector<at::Tensor>& got,
                                      const std::vector<at::Tensor>& expected,
                                      const Tolerance& tolerance);

}  // namespace monograph::inspect
