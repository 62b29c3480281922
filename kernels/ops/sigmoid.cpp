// Logistic function.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "sigmoid",
    .ops = {"aten.sigmoid.default", "aten.sigmoid_.default"},
    .summary = "Logistic function.",
    .expression = floating("1.0@f / (1.0@f + exp@f(-x0))"),
}));

}  // namespace
}  // namespace monograph::kernels
