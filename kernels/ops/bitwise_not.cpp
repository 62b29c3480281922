// Complement of every bit.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

const Registration kRegistration(unary_definition({
    .name = "bitwise_not",
    .ops = {"aten.bitwise_not.default"},
    .summary = "Complement of every bit; of booleans, the other value.",
    .expression = [](DType compute) -> std::string {
      if (compute == DType::kBool) return "!x0";
      return compute == DType::kI64 ? "~x0" : "";
    },
}));

}  // namespace
}  // namespace monograph::kernels
