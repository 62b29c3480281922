// Smaller operand; NaN if either is.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(binary_definition({
    .name = "minimum",
    .ops = {"aten.minimum.default"},
    .summary = "Smaller operand; NaN if either is.",
    .expression = any_type("(x0 != x0 ? x0 : x1 != x1 ? x1 : x0 < x1 ? x0 : x1)"),
}));

}  // namespace
}  // namespace monograph::kernels
