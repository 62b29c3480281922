// x * sigmoid(x).
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "silu",
    .ops = {"aten.silu.default", "aten.silu_.default"},
    .summary = "x * sigmoid(x).",
    .expression = floating("x0 / (1.0@f + exp@f(-x0))"),
}));

}  // namespace
}  // namespace monograph::kernels
