// Equality.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(binary_definition({
    .name = "eq",
    .ops = {"aten.eq.Tensor", "aten.eq.Scalar"},
    .summary = "Equality.",
    .expression = any_type("(x0 == x1)"),
    .compares = true,
}));

}  // namespace
}  // namespace monograph::kernels
