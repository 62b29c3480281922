// Absolute value; -0.0 becomes 0.0.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "abs",
    .ops = {"aten.abs.default", "aten.abs_.default"},
    .summary = "Absolute value; -0.0 becomes 0.0.",
    .expression = [](DType compute) -> std::string {
      if (compute == DType::kF32) return "fabsf(x0)";
      if (compute == DType::kF64) return "fabs(x0)";
      return compute == DType::kI64 ? "(x0 < 0 ? -x0 : x0)" : "";
    },
}));

}  // namespace
}  // namespace monograph::kernels
