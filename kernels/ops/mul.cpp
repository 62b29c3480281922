// Product.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(binary_definition({
    .name = "mul",
    .ops = {"aten.mul.Tensor", "aten.mul_.Tensor", "aten.mul.Scalar"},
    .summary = "Product.",
    .expression = any_type("(x0 * x1)"),
}));

}  // namespace
}  // namespace monograph::kernels
