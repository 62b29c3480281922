// Hyperbolic tangent.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "tanh",
    .ops = {"aten.tanh.default", "aten.tanh_.default"},
    .summary = "Hyperbolic tangent.",
    .expression = floating("tanh@f(x0)"),
}));

}  // namespace
}  // namespace monograph::kernels
