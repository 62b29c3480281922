// Difference, the second operand times alpha.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(binary_definition({
    .name = "sub",
    .ops = {"aten.sub.Tensor", "aten.sub_.Tensor", "aten.sub.Scalar"},
    .summary = "Difference, the second operand times alpha.",
    .expression = any_type("(x0 - x1)"),
    .scaled = "x1",
}));

}  // namespace
}  // namespace monograph::kernels
