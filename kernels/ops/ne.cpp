// Inequality.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(binary_definition({
    .name = "ne",
    .ops = {"aten.ne.Tensor", "aten.ne.Scalar"},
    .summary = "Inequality.",
    .expression = any_type("(x0 != x1)"),
    .compares = true,
}));

}  // namespace
}  // namespace monograph::kernels
