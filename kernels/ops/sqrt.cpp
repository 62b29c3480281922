// Square root.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "sqrt",
    .ops = {"aten.sqrt.default", "aten.sqrt_.default"},
    .summary = "Square root.",
    .expression = floating("sqrt@f(x0)"),
}));

}  // namespace
}  // namespace monograph::kernels
