// Reciprocal square root.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "rsqrt",
    .ops = {"aten.rsqrt.default", "aten.rsqrt_.default"},
    .summary = "Reciprocal square root.",
    .expression = floating("rsqrt@f(x0)"),
}));

}  // namespace
}  // namespace monograph::kernels
