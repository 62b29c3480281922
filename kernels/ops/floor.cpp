// Largest whole number not above.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "floor",
    .ops = {"aten.floor.default"},
    .summary = "Largest whole number not above.",
    .expression = floating("floor@f(x0)"),
}));

}  // namespace
}  // namespace monograph::kernels
