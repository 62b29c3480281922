// Quotient.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(binary_definition({
    .name = "div",
    .ops = {"aten.div.Tensor", "aten.div_.Tensor", "aten.div.Scalar"},
    .summary = "Quotient.",
    .expression = floating("(x0 / x1)"),
}));

}  // namespace
}  // namespace monograph::kernels
