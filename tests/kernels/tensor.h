// Tensors of the tests: values in long double (which holds every value of every dtype), and the
// bytes that a device sees.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "kernels/types.h"

namespace kernels_test {

using monograph::kernels::DType;
using monograph::kernels::TensorDesc;

using Real = long double;

/// A value as `dtype` stores it: rounded, wrapped, or 0 or 1.
Real stored(Real value, DType dtype);
Real read_element(const std::byte* at, DType dtype);
void write_element(std::byte* at, DType dtype, Real value);
/// True for a stored -0.0.
bool negative_zero(const std::byte* at, DType dtype);

/// Logical values, row-major.
struct Values {
  DType dtype = DType::kF32;
  std::vector<std::int64_t> sizes;
  std::vector<Real> at;
};

/// Memory offset in elements of each logical element of `desc`, row-major.
std::vector<std::int64_t> element_offsets(const TensorDesc& desc);
/// Elements from the first to the last, plus one.
std::int64_t extent(const TensorDesc& desc);

/// What inputs are filled with.
enum class Fill {
  kNormal,    ///< normal numbers; small integers; random booleans
  kExtremes,  ///< beside them NaN, infinities, both zeros, the largest and smallest numbers
};
Values random_values(const TensorDesc& desc, Fill fill, std::mt19937_64& random);

}  // namespace kernels_test
