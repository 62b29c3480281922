// Gaussian error linear unit, by erf or by its tanh approximation.
#include "kernels/elementwise/definitions.h"

namespace monograph::kernels {
namespace {

constexpr const char* kErf = "x0 * 0.5@f * (1.0@f + erf@f(x0 * 0.70710678118654752440@f))";
// Hendrycks & Gimpel, "Gaussian Error Linear Units".
constexpr const char* kTanh =
    "0.5@f * x0 * (1.0@f + tanh@f(0.79788456080286535588@f * (x0 + 0.044715@f * x0 * x0 * x0)))";

Match match(const Call& call, const Target& target) {
  if (call.inputs.size() != 1 || call.outputs.size() != 1) return Match::no("operands");
  std::string approximate = "none";
  if (const Argument* a = call.arg(1, "approximate")) {
    if (const auto* text = std::get_if<std::string>(&a->scalar)) approximate = *text;
  }
  const DType compute = compute_type(call.outputs[0].dtype);
  const Expression expression = floating(approximate == "tanh" ? kTanh : kErf);
  Elementwise e{"mg_gelu", compute, expression(compute), call.inputs, call.outputs[0]};
  if (e.expression.empty()) return Match::no("dtype");
  return elementwise_instance(e, target);
}

const Registration kRegistration({
    .name = "gelu",
    .summary = "Gaussian error linear unit.",
    .algorithm = "one thread per 16 bytes; erf, or the tanh approximation",
    .ops = {"aten.gelu.default"},
    .match = match,
    .samples =
        [] {
          return unary_samples("aten.gelu.default",
                               {DType::kF32, DType::kF16, DType::kBF16, DType::kF64});
        },
});

}  // namespace
}  // namespace monograph::kernels
