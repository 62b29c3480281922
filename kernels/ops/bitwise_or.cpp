// Bits set in either operand.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(operands_definition({
    .name = "bitwise_or",
    .ops = {"aten.bitwise_or.Tensor", "aten.__or__.Tensor", "aten.bitwise_or.Scalar"},
    .summary = "Bits set in either operand.",
    .expression = integers("(x0 | x1)"),
    .operands = 2,
    .dtypes = {DType::kBool, DType::kI64, DType::kI32},
    .predicate = false,
}));

}  // namespace
}  // namespace monograph::kernels
