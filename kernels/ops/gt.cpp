// Greater than.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(binary_definition({
    .name = "gt",
    .ops = {"aten.gt.Tensor", "aten.gt.Scalar"},
    .summary = "Greater than.",
    .expression = any_type("(x0 > x1)"),
    .compares = true,
}));

}  // namespace
}  // namespace monograph::kernels
