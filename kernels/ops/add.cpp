// Sum, the second operand times alpha.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(binary_definition({
    .name = "add",
    .ops = {"aten.add.Tensor", "aten.add_.Tensor", "aten.add.Scalar"},
    .summary = "Sum, the second operand times alpha.",
    .expression = any_type("(x0 + x1)"),
    .scaled = "x1",
}));

}  // namespace
}  // namespace monograph::kernels
