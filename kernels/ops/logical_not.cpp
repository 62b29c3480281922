// True where the operand is zero.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(operands_definition({
    .name = "logical_not",
    .ops = {"aten.logical_not.default"},
    .summary = "True where the operand is zero.",
    .expression = any_type("(x0 == 0)"),
    .operands = 1,
    .dtypes = {DType::kBool, DType::kF32, DType::kBF16, DType::kI64},
    .predicate = true,
}));

}  // namespace
}  // namespace monograph::kernels
