#include "capture/ir/extent.h"

#include <algorithm>

namespace monograph::ir {
namespace {

/// `value = value * factor + term`; false on overflow.
bool multiply_add(std::int64_t& value, std::int64_t factor, std::int64_t term) noexcept {
  return !__builtin_mul_overflow(value, factor, &value) &&
         !__builtin_add_overflow(value, term, &value);
}

}  // namespace

std::optional<std::int64_t> checked_extent(const TensorType& type) noexcept {
  if (type.sizes.size() != type.strides.size() || type.offset < 0) return std::nullopt;
  const std::int64_t bytes = itemsize(type.dtype);
  bool empty = !type.defined();
  // Empty dimensions count as one, as they do for strides: what follows is then safe everywhere.
  std::int64_t elements = 1;
  std::int64_t last = type.offset;
  for (std::size_t i = 0; i < type.sizes.size(); ++i) {
    const std::int64_t size = type.sizes[i];
    std::int64_t step = type.strides[i];
    if (size < 0 || step < 0) return std::nullopt;
    empty = empty || size == 0;
    const std::int64_t at_least_one = std::max<std::int64_t>(size, 1);
    if (!multiply_add(elements, at_least_one, 0)) return std::nullopt;
    if (!multiply_add(step, at_least_one - 1, last)) return std::nullopt;
    last = step;
  }
  std::int64_t extent = last;
  if (!multiply_add(elements, bytes, 0)) return std::nullopt;
  if (!multiply_add(extent, 1, 1) || !multiply_add(extent, bytes, 0)) return std::nullopt;
  return empty ? 0 : extent;
}

}  // namespace monograph::ir
