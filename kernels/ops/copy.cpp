// Copy with change of layout and dtype.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "copy",
    .ops = {"aten.clone.default", "aten._to_copy.default", "aten.contiguous.default"},
    .summary = "Copy with change of layout and dtype.",
    .expression = any_type("x0"),
}));

}  // namespace
}  // namespace monograph::kernels
