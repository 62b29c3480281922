// Copy with change of layout and dtype.
#include "kernels/elementwise/definitions.h"
#include "kernels/elementwise/elementwise.h"

namespace monograph::kernels {
namespace {

/// Computed in the operand's type and stored in the result's; to a narrower float it rounds, also
/// within a fusion.
std::optional<Formula> formula(const Step& step,
                               const std::function<DType(std::int32_t)>& type_of) {
  if (step.args.empty() || !step.args[0].is_tensor()) return std::nullopt;
  const DType from = type_of(step.args[0].tensors.front());
  const DType to = step.output.dtype;
  std::string text = "x0";
  if (is_half(to) && from != to) {
    const std::string half(device_type(to));
    text = "mg::to_float(mg::convert<" + half + ">(x0))";
  }
  return Formula{text, {step.args[0]}, compute_type(from)};
}

std::vector<Call> samples() {
  std::vector<Call> calls;
  for (const DType from : {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI64,
                           DType::kI32, DType::kBool}) {
    for (const DType to :
         {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI64, DType::kI32}) {
      TensorDesc in = dense(from, {7, 24});
      std::swap(in.sizes[0], in.sizes[1]);
      std::swap(in.strides[0], in.strides[1]);
      Call c;
      c.op = "aten._to_copy.default";
      c.args = {tensor_argument(0)};
      c.inputs = {from == to ? in : dense(from, {3, 37})};
      c.outputs = {dense(to, c.inputs[0].sizes)};
      calls.push_back(std::move(c));
    }
  }
  return calls;
}

const Registration kRegistration(pointwise_definition({
    .name = "copy",
    .ops = {"aten.clone.default", "aten._to_copy.default", "aten.contiguous.default",
            "aten.to.dtype"},
    .summary = "Copy with change of layout and dtype.",
    .formula = formula,
    .samples = samples,
}));

}  // namespace
}  // namespace monograph::kernels
