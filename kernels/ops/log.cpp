// Natural logarithm.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "log",
    .ops = {"aten.log.default", "aten.log_.default"},
    .summary = "Natural logarithm.",
    .expression = floating("log@f(x0)"),
}));

}  // namespace
}  // namespace monograph::kernels
