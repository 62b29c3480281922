// Limits to a range.
#include "kernels/elementwise/definitions.h"
#include "kernels/elementwise/elementwise.h"

namespace monograph::kernels {
namespace {

bool given(const Argument* a) {
  return a != nullptr && (a->is_tensor() || !std::holds_alternative<std::monostate>(a->scalar));
}

std::optional<Formula> formula(const Step& step, const std::function<DType(std::int32_t)>&) {
  if (step.args.empty()) return std::nullopt;
  const bool only_max = step.op.rfind("aten.clamp_max", 0) == 0;
  const Argument* low = only_max ? nullptr : step.arg(1, "min");
  const Argument* high = only_max ? step.arg(1, "max") : step.arg(2, "max");
  if (step.op == "aten.hardtanh.default") {
    low = step.arg(1, "min_val");
    high = step.arg(2, "max_val");
    if (!given(low) || !given(high)) return std::nullopt;  // defaults are -1 and 1
  }
  Formula f{"x0", {step.args[0]}, compute_type(step.output.dtype)};
  // Comparisons with NaN are false, so that NaN passes through; `max` has the last word.
  if (given(low)) {
    f.operands.push_back(*low);
    f.text = "(x0 < x1 || x1 != x1 ? x1 : x0)";
  }
  if (given(high)) {
    f.operands.push_back(*high);
    const std::string h = given(low) ? "x2" : "x1";
    f.text = "(" + f.text + " > " + h + " || " + h + " != " + h + " ? " + h + " : " + f.text + ")";
  }
  return f;
}

std::vector<Call> samples() {
  std::vector<Call> calls;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI64}) {
    Call c;
    c.op = "aten.clamp.default";
    c.args = {tensor_argument(0), number_argument(std::int64_t{-1}), {}};
    c.inputs = {dense(dtype, {3, 40})};
    c.outputs = {dense(dtype, {3, 40})};
    calls.push_back(c);
    c.args[2] = number_argument(std::int64_t{1});
    calls.push_back(c);
    c.op = "aten.clamp_max.default";
    c.args = {tensor_argument(0), number_argument(std::int64_t{1})};
    calls.push_back(std::move(c));
  }
  return calls;
}

const Registration kRegistration(pointwise_definition({
    .name = "clamp",
    .ops = {"aten.clamp.default", "aten.clamp.Tensor", "aten.clamp_min.default",
            "aten.clamp_max.default", "aten.hardtanh.default", "aten.clamp_min.Tensor",
            "aten.clamp_max.Tensor"},
    .summary = "Limits to a range; NaN stays NaN.",
    .formula = formula,
    .samples = samples,
}));

}  // namespace
}  // namespace monograph::kernels
