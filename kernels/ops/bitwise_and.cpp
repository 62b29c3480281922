// Bits set in both operands.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(operands_definition({
    .name = "bitwise_and",
    .ops = {"aten.bitwise_and.Tensor", "aten.__and__.Tensor", "aten.bitwise_and.Scalar"},
    .summary = "Bits set in both operands.",
    .expression = integers("(x0 & x1)"),
    .operands = 2,
    .dtypes = {DType::kBool, DType::kI64, DType::kI32},
    .predicate = false,
}));

}  // namespace
}  // namespace monograph::kernels
