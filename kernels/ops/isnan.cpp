// True where the operand is NaN.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(operands_definition({
    .name = "isnan",
    .ops = {"aten.isnan.default"},
    .summary = "True where the operand is NaN.",
    .expression = any_type("(x0 != x0)"),
    .operands = 1,
    .dtypes = {DType::kF32, DType::kBF16, DType::kF64},
    .predicate = true,
}));

}  // namespace
}  // namespace monograph::kernels
