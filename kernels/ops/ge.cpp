// Greater than or equal.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(binary_definition({
    .name = "ge",
    .ops = {"aten.ge.Tensor", "aten.ge.Scalar"},
    .summary = "Greater than or equal.",
    .expression = any_type("(x0 >= x1)"),
    .compares = true,
}));

}  // namespace
}  // namespace monograph::kernels
