// Sine.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "sin",
    .ops = {"aten.sin.default", "aten.sin_.default"},
    .summary = "Sine.",
    .expression = floating("sin@f(x0)"),
}));

}  // namespace
}  // namespace monograph::kernels
