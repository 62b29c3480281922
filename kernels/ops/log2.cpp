// Logarithm to base two.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "log2",
    .ops = {"aten.log2.default"},
    .summary = "Logarithm to base two.",
    .expression = floating("log2@f(x0)"),
}));

}  // namespace
}  // namespace monograph::kernels
