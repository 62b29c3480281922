// Position of the first largest element.
#include "kernels/fusion/definitions.h"

namespace monograph::kernels {
namespace {

int expand(fusion::Builder& b, const Step& step, const fusion::Mapping& mapping) {
  const auto rank = b.desc(step.args[0].tensors.front()).sizes.size();
  const auto dims = fusion::dimensions(step.arg(1, "dim"), rank);
  const DType type = fusion::value_type(b.desc(step.args[0].tensors.front()).dtype);
  return fusion::reduce_dimensions(b, step, mapping, fusion::ReduceKind::kArgMax, dims, type);
}

std::vector<Call> samples() {
  std::vector<Call> calls;
  for (const bool keep : {true, false}) {
    for (Call c : fusion::row_samples(
             "aten.argmax.default",
             std::vector<DType>{DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI64},
             {number_argument(std::int64_t{-1}), number_argument(keep)})) {
      TensorDesc& out = c.outputs[0];
      std::vector<std::int64_t> sizes = out.sizes;
      if (keep) sizes.back() = 1;
      if (!keep) sizes.pop_back();
      out = dense(DType::kI64, sizes);
      calls.push_back(std::move(c));
    }
  }
  // The first dimension of two: neighbours in memory belong to different rows.
  for (const DType dtype :
       std::vector<DType>{DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI64}) {
    Call c;
    c.op = "aten.argmax.default";
    c.inputs = {dense(dtype, {37, 96})};
    c.args = {tensor_argument(0), number_argument(std::int64_t{0})};
    c.outputs = {dense(DType::kI64, {96})};
    calls.push_back(std::move(c));
  }
  return calls;
}

const Registration kRegistration(fusion::row_definition({
    .name = "argmax",
    .ops = {"aten.argmax.default"},
    .summary = "Position of the first largest element; NaN counts as largest.",
    .algorithm = "threads share a row: registers, shuffles, then one value a warp",
    .expand = expand,
    .samples = samples,
}));

}  // namespace
}  // namespace monograph::kernels
