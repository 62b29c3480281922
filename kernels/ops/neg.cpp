// Negation.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "neg",
    .ops = {"aten.neg.default", "aten.neg_.default"},
    .summary = "Negation.",
    .expression = any_type("-x0"),
}));

}  // namespace
}  // namespace monograph::kernels
