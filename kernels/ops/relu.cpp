// Rectifier; NaN stays NaN.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "relu",
    .ops = {"aten.relu.default", "aten.relu_.default"},
    .summary = "Rectifier; NaN stays NaN.",
    .expression = any_type("(x0 > 0 || x0 != x0 ? x0 : 0)"),
}));

}  // namespace
}  // namespace monograph::kernels
