// log(1 + x).
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "log1p",
    .ops = {"aten.log1p.default"},
    .summary = "log(1 + x).",
    .expression = floating("log1p@f(x0)"),
}));

}  // namespace
}  // namespace monograph::kernels
