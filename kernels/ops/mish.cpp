// x * tanh(log(1 + exp(x))).
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "mish",
    .ops = {"aten.mish.default"},
    .summary = "x * tanh(log(1 + exp(x))).",
    .expression = floating("(x0 * tanh@f(x0 > 20.0@f ? x0 : log1p@f(exp@f(x0))))"),
}));

}  // namespace
}  // namespace monograph::kernels
