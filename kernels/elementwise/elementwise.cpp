#include "kernels/elementwise/elementwise.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace monograph::kernels {

DType compute_type(DType common) noexcept {
  switch (common) {
    case DType::kF64:
      return DType::kF64;
    case DType::kF16:
    case DType::kBF16:
    case DType::kF32:
      return DType::kF32;
    case DType::kBool:
      return DType::kBool;
    default:
      return DType::kI64;
  }
}

double round_to(double value, DType dtype) {
  if (!std::isfinite(value) || value == 0) return value;
  int digits = 53;
  int least = -1074;  // exponent of the smallest subnormal
  double most = std::numeric_limits<double>::max();
  switch (dtype) {
    case DType::kF16:
      digits = 11, least = -24, most = 65504;
      break;
    case DType::kBF16:
      digits = 8, least = -133, most = 0x1.fep127;
      break;
    case DType::kF32:
      digits = 24, least = -149, most = static_cast<double>(std::numeric_limits<float>::max());
      break;
    default:
      return value;
  }
  const int exponent = std::max(std::ilogb(value) + 1 - digits, least);
  const double rounded = std::ldexp(std::nearbyint(std::ldexp(value, -exponent)), exponent);
  return std::abs(rounded) > most ? std::copysign(std::numeric_limits<double>::infinity(), value)
                                  : rounded;
}

std::string literal(double value, DType compute) {
  const char* suffix = compute == DType::kF64 ? "" : "f";
  if (std::isnan(value)) return compute == DType::kF64 ? "mg::nan64()" : "mg::nan32()";
  if (std::isinf(value)) {
    return std::string(value < 0 ? "-" : "") +
           (compute == DType::kF64 ? "mg::inf64()" : "mg::inf32()");
  }
  // Hexadecimal floats are exact; the value is first rounded to the type it is used in.
  const double rounded =
      compute == DType::kF64 ? value : static_cast<double>(static_cast<float>(value));
  return fmt::format("({:a}{})", rounded, suffix);
}

std::string literal(std::int64_t value, DType compute) {
  if (compute == DType::kF32 || compute == DType::kF64) {
    return literal(static_cast<double>(value), compute);
  }
  if (compute == DType::kBool) return value != 0 ? "true" : "false";
  if (value == std::numeric_limits<std::int64_t>::min()) return "(-9223372036854775807LL - 1)";
  return fmt::format("({}LL)", value);
}

}  // namespace monograph::kernels
