// Exponential.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "exp",
    .ops = {"aten.exp.default", "aten.exp_.default"},
    .summary = "Exponential.",
    .expression = floating("exp@f(x0)"),
}));

}  // namespace
}  // namespace monograph::kernels
