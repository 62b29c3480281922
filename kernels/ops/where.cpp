// Choice by a mask.
#include "kernels/elementwise/definitions.h"
#include "kernels/elementwise/elementwise.h"

namespace monograph::kernels {
namespace {

std::optional<Formula> formula(const Step& step, const std::function<DType(std::int32_t)>&) {
  if (step.args.size() != 3) return std::nullopt;
  const bool fill = step.op.rfind("aten.masked_fill", 0) == 0;  // (x, mask, value)
  const DType compute = compute_type(step.output.dtype);
  if (fill) {
    return Formula{"(x1 != 0 ? x2 : x0)", {step.args[0], step.args[1], step.args[2]}, compute};
  }
  return Formula{"(x0 != 0 ? x1 : x2)", {step.args[0], step.args[1], step.args[2]}, compute};
}

std::vector<Call> samples() {
  std::vector<Call> calls;
  for (const DType dtype :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI64, DType::kBool}) {
    Call c;
    c.op = "aten.where.self";
    c.args = {tensor_argument(0), tensor_argument(1), tensor_argument(2)};
    c.inputs = {dense(DType::kBool, {3, 1, 37}), dense(dtype, {3, 4, 37}), dense(dtype, {})};
    c.outputs = {dense(dtype, {3, 4, 37})};
    calls.push_back(c);
    c.op = "aten.masked_fill.Tensor";
    c.inputs = {dense(dtype, {3, 4, 32}), dense(DType::kBool, {4, 32}), dense(dtype, {})};
    c.outputs = {dense(dtype, {3, 4, 32})};
    calls.push_back(std::move(c));
  }
  return calls;
}

const Registration kRegistration(pointwise_definition({
    .name = "where",
    .ops = {"aten.where.self", "aten.where.ScalarSelf", "aten.where.ScalarOther",
            "aten.where.Scalar", "aten.masked_fill.Scalar", "aten.masked_fill.Tensor"},
    .summary = "Choice between two values by a mask.",
    .formula = formula,
    .samples = samples,
}));

}  // namespace
}  // namespace monograph::kernels
