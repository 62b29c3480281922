// x * clamp(x + 3, 0, 6) / 6.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "hardswish",
    .ops = {"aten.hardswish.default"},
    .summary = "x * clamp(x + 3, 0, 6) / 6.",
    .expression = floating("(x0 * ((x0 + 3.0@f > 6.0@f ? 6.0@f : x0 + 3.0@f < 0.0@f ? 0.0@f : "
                           "x0 + 3.0@f) / 6.0@f))"),
}));

}  // namespace
}  // namespace monograph::kernels
