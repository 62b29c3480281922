// Reciprocal.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "reciprocal",
    .ops = {"aten.reciprocal.default"},
    .summary = "Reciprocal.",
    .expression = floating("(1.0@f / x0)"),
}));

}  // namespace
}  // namespace monograph::kernels
