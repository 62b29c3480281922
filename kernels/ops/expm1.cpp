// exp(x) - 1.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "expm1",
    .ops = {"aten.expm1.default"},
    .summary = "exp(x) - 1.",
    .expression = floating("expm1@f(x0)"),
}));

}  // namespace
}  // namespace monograph::kernels
