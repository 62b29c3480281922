// Error function.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "erf",
    .ops = {"aten.erf.default"},
    .summary = "Error function.",
    .expression = floating("erf@f(x0)"),
}));

}  // namespace
}  // namespace monograph::kernels
