// Power with a number as exponent, or of tensors.
#include "kernels/elementwise/definitions.h"
#include "kernels/elementwise/elementwise.h"

namespace monograph::kernels {
namespace {

/// Small whole powers multiply, square roots are roots, as LibTorch does.
std::string text_for(double exponent, DType compute) {
  const std::string f = compute == DType::kF64 ? "" : "f";
  if (exponent == 2) return "(x0 * x0)";
  if (exponent == 3) return "(x0 * x0 * x0)";
  if (exponent == 1) return "x0";
  if (exponent == 0.5) return "sqrt" + f + "(x0)";
  if (exponent == -0.5) return "rsqrt" + f + "(x0)";
  if (exponent == -1) return "(1.0" + f + " / x0)";
  if (exponent == -2) return "(1.0" + f + " / (x0 * x0))";
  return "pow" + f + "(x0, x1)";
}

std::optional<Formula> formula(const Step& step, const std::function<DType(std::int32_t)>&) {
  if (step.args.size() < 2) return std::nullopt;
  const DType compute = compute_type(step.output.dtype);
  if (compute != DType::kF32 && compute != DType::kF64) return std::nullopt;
  double exponent = 2.5;  // any that has no short form
  if (const auto* d = std::get_if<double>(&step.args[1].scalar)) exponent = *d;
  if (const auto* i = std::get_if<std::int64_t>(&step.args[1].scalar)) {
    exponent = static_cast<double>(*i);
  }
  return Formula{text_for(exponent, compute), {step.args[0], step.args[1]}, compute};
}

std::vector<Call> samples() {
  std::vector<Call> calls;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF64}) {
    for (const double e : {2.0, 3.0, -0.5, 1.7}) {
      Call c;
      c.op = "aten.pow.Tensor_Scalar";
      c.args = {tensor_argument(0), number_argument(e)};
      c.inputs = {dense(dtype, {3, 40})};
      c.outputs = {dense(dtype, {3, 40})};
      calls.push_back(std::move(c));
    }
  }
  return calls;
}

const Registration kRegistration(pointwise_definition({
    .name = "pow",
    .ops = {"aten.pow.Tensor_Scalar", "aten.pow.Tensor_Tensor", "aten.pow.Scalar"},
    .summary = "Power.",
    .formula = formula,
    .samples = samples,
}));

}  // namespace
}  // namespace monograph::kernels
