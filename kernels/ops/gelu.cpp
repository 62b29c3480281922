// Gaussian error linear unit, by erf or by its tanh approximation.
#include "kernels/elementwise/definitions.h"
#include "kernels/elementwise/elementwise.h"

namespace monograph::kernels {
namespace {

constexpr const char* kErf = "x0 * 0.5@f * (1.0@f + erf@f(x0 * 0.70710678118654752440@f))";
// Hendrycks & Gimpel, "Gaussian Error Linear Units".
constexpr const char* kTanh =
    "0.5@f * x0 * (1.0@f + tanh@f(0.79788456080286535588@f * (x0 + 0.044715@f * x0 * x0 * x0)))";

std::optional<Formula> formula(const Step& step, const std::function<DType(std::int32_t)>&) {
  std::string approximate = "none";
  if (const Argument* a = step.arg(1, "approximate")) {
    if (const auto* text = std::get_if<std::string>(&a->scalar)) approximate = *text;
  }
  const DType compute = compute_type(step.output.dtype);
  std::string text = floating(approximate == "tanh" ? kTanh : kErf)(compute);
  if (text.empty() || step.args.empty()) return std::nullopt;
  return Formula{std::move(text), {step.args[0]}, compute};
}

std::vector<Call> samples() {
  const std::vector<DType> dtypes{DType::kF32, DType::kF16, DType::kBF16, DType::kF64};
  std::vector<Call> calls = unary_samples("aten.gelu.default", dtypes);
  for (Call c : unary_samples("aten.gelu.default", dtypes)) {
    c.kwargs.emplace_back("approximate", number_argument(std::string("tanh")));
    calls.push_back(std::move(c));
  }
  return calls;
}

const Registration kRegistration(pointwise_definition({
    .name = "gelu",
    .ops = {"aten.gelu.default"},
    .summary = "Gaussian error linear unit, by erf or by its tanh approximation.",
    .formula = formula,
    .samples = samples,
}));

}  // namespace
}  // namespace monograph::kernels
