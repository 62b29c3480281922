// Tensors of one number, within fusions and alone.
#include "kernels/elementwise/definitions.h"
#include "kernels/elementwise/elementwise.h"

namespace monograph::kernels {
namespace {

std::optional<Formula> formula(const Step& step, const std::function<DType(std::int32_t)>&) {
  const DType type = compute_type(step.output.dtype);
  if (step.op == "aten.zeros_like.default")
    return Formula{literal(std::int64_t{0}, type), {}, type};
  if (step.op == "aten.ones_like.default") return Formula{literal(std::int64_t{1}, type), {}, type};
  const Argument* value = step.arg(1, "fill_value");
  if (value == nullptr) return std::nullopt;
  return Formula{"x0", {*value}, type};
}

std::vector<Call> samples() {
  std::vector<Call> calls;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI64, DType::kBool}) {
    Call c;
    c.op = "aten.zeros_like.default";
    c.args = {tensor_argument(0)};
    c.inputs = {dense(dtype, {3, 37})};
    c.outputs = {dense(dtype, {3, 37})};
    calls.push_back(c);
    c.op = "aten.full_like.default";
    c.args.push_back(number_argument(std::int64_t{1}));
    calls.push_back(std::move(c));
  }
  return calls;
}

const Registration kRegistration(pointwise_definition({
    .name = "fill",
    .ops = {"aten.zeros_like.default", "aten.ones_like.default", "aten.full_like.default"},
    .summary = "Tensors of one number.",
    .formula = formula,
    .samples = samples,
}));

}  // namespace
}  // namespace monograph::kernels
