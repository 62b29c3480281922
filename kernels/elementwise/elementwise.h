// Types and constants of elementwise arithmetic in kernel source.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/types.h"

namespace monograph::kernels {

/// Type in which LibTorch computes an elementwise operator on operands of type `common`.
DType compute_type(DType common) noexcept;

/// `value` rounded to the nearest number of `dtype`, ties to even; a NaN stays one.
double round_to(double value, DType dtype);

/// `value` as a C++ literal of `compute`.
std::string literal(double value, DType compute);
std::string literal(std::int64_t value, DType compute);

}  // namespace monograph::kernels
