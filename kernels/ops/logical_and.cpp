// True where both operands are.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(operands_definition({
    .name = "logical_and",
    .ops = {"aten.logical_and.default"},
    .summary = "True where both operands are.",
    .expression = any_type("(x0 != 0 && x1 != 0)"),
    .operands = 2,
    .dtypes = {DType::kBool, DType::kF32, DType::kBF16, DType::kI64},
    .predicate = true,
}));

}  // namespace
}  // namespace monograph::kernels
