// Bits set in either operand.
#include "kernels/elementwise/definitions.h"
#include "kernels/elementwise/elementwise.h"

namespace monograph::kernels {
namespace {

std::optional<Formula> formula(const Step& step,
                               const std::function<DType(std::int32_t)>& type_of) {
  if (step.args.size() < 2) return std::nullopt;
  const std::vector<Argument> operands(step.args.begin(), step.args.begin() + 2);
  const DType compute = compute_type(common_type(operands, type_of));
  if (compute != DType::kBool && compute != DType::kI64) return std::nullopt;
  return Formula{"(x0 | x1)", operands, compute};
}

std::vector<Call> samples() {
  std::vector<Call> calls;
  for (const DType dtype : {DType::kBool, DType::kI64, DType::kI32}) {
    Call c;
    c.op = "aten.bitwise_or.Tensor";
    for (std::int32_t i = 0; i < 2; ++i) {
      c.args.push_back(tensor_argument(i));
      c.inputs.push_back(
          dense(dtype, i == 0 ? std::vector<std::int64_t>{3, 37} : std::vector<std::int64_t>{37}));
    }
    c.outputs = {dense(dtype, {3, 37})};
    calls.push_back(std::move(c));
  }
  return calls;
}

const Registration kRegistration(pointwise_definition({
    .name = "bitwise_or",
    .ops = {"aten.bitwise_or.Tensor", "aten.__or__.Tensor", "aten.bitwise_or.Scalar"},
    .summary = "Bits set in either operand.",
    .formula = formula,
    .samples = samples,
}));

}  // namespace
}  // namespace monograph::kernels
