// Rectifier with a slope for negative values.
#include "kernels/elementwise/definitions.h"
#include "kernels/elementwise/elementwise.h"

namespace monograph::kernels {
namespace {

std::optional<Formula> formula(const Step& step, const std::function<DType(std::int32_t)>&) {
  const DType compute = compute_type(step.output.dtype);
  if (step.args.empty() || (compute != DType::kF32 && compute != DType::kF64)) return std::nullopt;
  const Argument* slope = step.arg(1, "negative_slope");
  return Formula{"(x0 > 0 ? x0 : x0 * x1)",
                 {step.args[0], slope != nullptr ? *slope : number_argument(0.01)},
                 compute};
}

std::vector<Call> samples() {
  std::vector<Call> calls;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    Call c;
    c.op = "aten.leaky_relu.default";
    c.args = {tensor_argument(0), number_argument(0.2)};
    c.inputs = {dense(dtype, {3, 37})};
    c.outputs = {dense(dtype, {3, 37})};
    calls.push_back(std::move(c));
  }
  return calls;
}

const Registration kRegistration(pointwise_definition({
    .name = "leaky_relu",
    .ops = {"aten.leaky_relu.default"},
    .summary = "Rectifier with a slope for negative values.",
    .formula = formula,
    .samples = samples,
}));

}  // namespace
}  // namespace monograph::kernels
