// Smallest whole number not below.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "ceil",
    .ops = {"aten.ceil.default"},
    .summary = "Smallest whole number not below.",
    .expression = floating("ceil@f(x0)"),
}));

}  // namespace
}  // namespace monograph::kernels
