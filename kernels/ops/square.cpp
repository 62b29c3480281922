// Square.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "square",
    .ops = {"aten.square.default"},
    .summary = "Square.",
    .expression = any_type("(x0 * x0)"),
}));

}  // namespace
}  // namespace monograph::kernels
