// Angle of a point.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(binary_definition({
    .name = "atan2",
    .ops = {"aten.atan2.default"},
    .summary = "Angle of a point.",
    .expression = floating("atan2@f(x0, x1)"),
}));

}  // namespace
}  // namespace monograph::kernels
