// Cosine.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "cos",
    .ops = {"aten.cos.default", "aten.cos_.default"},
    .summary = "Cosine.",
    .expression = floating("cos@f(x0)"),
}));

}  // namespace
}  // namespace monograph::kernels
