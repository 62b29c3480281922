// Size arithmetic for types that may come from outside: never overflows, unlike TensorType's own.
#pragma once

#include <cstdint>
#include <optional>

#include "capture/ir/types.h"

namespace monograph::ir {

/// `type.storage_extent()`, or nullopt if that number can't be had: sizes and strides differ in
/// rank, something is negative, or 64 bits don't hold the elements or bytes concerned.
std::optional<std::int64_t> checked_extent(const TensorType& type) noexcept;

}  // namespace monograph::ir
