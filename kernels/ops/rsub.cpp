// Second operand minus the first.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(binary_definition({
    .name = "rsub",
    .ops = {"aten.rsub.Scalar", "aten.rsub.Tensor"},
    .summary = "Second operand minus the first, which alpha multiplies.",
    .expression = any_type("(x1 - x0)"),
    .scaled = "x0",
}));

}  // namespace
}  // namespace monograph::kernels
