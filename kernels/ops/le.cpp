// Less than or equal.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(binary_definition({
    .name = "le",
    .ops = {"aten.le.Tensor", "aten.le.Scalar"},
    .summary = "Less than or equal.",
    .expression = any_type("(x0 <= x1)"),
    .compares = true,
}));

}  // namespace
}  // namespace monograph::kernels
