#include "tests/kernels/tensor.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/elementwise/elementwise.h"

namespace kernels_test {
namespace {

template <class T>
T load(const std::byte* at) {
  T v;
  std::memcpy(&v, at, sizeof v);
  return v;
}
template <class T>
void save(std::byte* at, T v) {
  std::memcpy(at, &v, sizeof v);
}

float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}
std::uint16_t float_to_bf16(float v) {
  if (v != v) return 0x7fff;
  const auto u = std::bit_cast<std::uint32_t>(v);
  return static_cast<std::uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

/// Rounded once, not by way of float.
double half_value(Real value, DType dtype) {
  return monograph::kernels::round_to(static_cast<double>(value), dtype);
}

template <class T>
T wrapped(Real value) {
  return static_cast<T>(static_cast<std::int64_t>(value));
}

}  // namespace

Real read_element(const std::byte* at, DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return load<std::uint8_t>(at);
    case DType::kU8:
      return load<std::uint8_t>(at);
    case DType::kI8:
      return load<std::int8_t>(at);
    case DType::kI16:
      return load<std::int16_t>(at);
    case DType::kI32:
      return load<std::int32_t>(at);
    case DType::kI64:
      return load<std::int64_t>(at);
    case DType::kF16:
      return static_cast<float>(std::bit_cast<_Float16>(load<std::uint16_t>(at)));
    case DType::kBF16:
      return bf16_to_float(load<std::uint16_t>(at));
    case DType::kF32:
      return load<float>(at);
    case DType::kF64:
      return load<double>(at);
  }
  return 0;
}

void write_element(std::byte* at, DType dtype, Real value) {
  switch (dtype) {
    case DType::kBool:
      return save<std::uint8_t>(at, value != 0 ? 1 : 0);
    case DType::kU8:
      return save(at, wrapped<std::uint8_t>(value));
    case DType::kI8:
      return save(at, wrapped<std::int8_t>(value));
    case DType::kI16:
      return save(at, wrapped<std::int16_t>(value));
    case DType::kI32:
      return save(at, wrapped<std::int32_t>(value));
    case DType::kI64:
      return save(at, wrapped<std::int64_t>(value));
    case DType::kF16:
      return save(at, std::bit_cast<std::uint16_t>(
                          static_cast<_Float16>(static_cast<float>(half_value(value, dtype)))));
    case DType::kBF16:
      return save(at, float_to_bf16(static_cast<float>(half_value(value, dtype))));
    case DType::kF32:
      return save(at, static_cast<float>(value));
    case DType::kF64:
      return save(at, static_cast<double>(value));
  }
}

Real stored(Real value, DType dtype) {
  std::byte bytes[8];
  write_element(bytes, dtype, value);
  return read_element(bytes, dtype);
}

bool negative_zero(const std::byte* at, DType dtype) {
  const Real v = read_element(at, dtype);
  return v == 0 && std::signbit(v);
}

std::vector<std::int64_t> element_offsets(const TensorDesc& desc) {
  std::vector<std::int64_t> offsets;
  offsets.reserve(static_cast<std::size_t>(desc.numel()));
  std::vector<std::int64_t> at(desc.sizes.size(), 0);
  for (std::int64_t i = 0; i < desc.numel(); ++i) {
    std::int64_t offset = 0;
    for (std::size_t d = 0; d < at.size(); ++d) offset += at[d] * desc.strides[d];
    offsets.push_back(offset);
    for (std::size_t d = at.size(); d-- > 0;) {
      if (++at[d] < desc.sizes[d]) break;
      at[d] = 0;
    }
  }
  return offsets;
}

std::int64_t extent(const TensorDesc& desc) {
  if (desc.numel() == 0) return 0;
  std::int64_t n = 1;
  for (std::size_t d = 0; d < desc.sizes.size(); ++d) n += (desc.sizes[d] - 1) * desc.strides[d];
  return n;
}

Values random_values(const TensorDesc& desc, Fill fill, std::mt19937_64& random) {
  Values v{desc.dtype, desc.sizes, {}};
  std::normal_distribution<double> normal;
  std::uniform_int_distribution<int> small(-9, 9);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  // Large enough for products to overflow, not for sums, whose order is the kernel's business.
  const double largest = desc.dtype == DType::kF16   ? 65504.0
                         : desc.dtype == DType::kF64 ? 1e300
                                                     : 1e34;
  const Real special[] = {std::numeric_limits<double>::quiet_NaN(),
                          kInfinity,
                          -kInfinity,
                          0.0,
                          -0.0,
                          largest,
                          -largest,
                          1e-7,
                          -1e-7,
                          1.0,
                          -1.0};
  const std::int64_t n = desc.numel();
  for (std::int64_t i = 0; i < n; ++i) {
    Real x = 0;
    if (monograph::kernels::is_floating(desc.dtype)) {
      x = normal(random);
      if (fill == Fill::kExtremes && random() % 4 == 0) x = special[random() % 11];
    } else if (desc.dtype == DType::kBool) {
      x = static_cast<Real>(random() % 2);
    } else {
      x = small(random);
    }
    v.at.push_back(stored(x, desc.dtype));
  }
  return v;
}

}  // namespace kernels_test
