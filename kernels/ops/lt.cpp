// Less than.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(binary_definition({
    .name = "lt",
    .ops = {"aten.lt.Tensor", "aten.lt.Scalar"},
    .summary = "Less than.",
    .expression = any_type("(x0 < x1)"),
    .compares = true,
}));

}  // namespace
}  // namespace monograph::kernels
