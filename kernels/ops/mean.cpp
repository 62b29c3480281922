// Mean over dimensions.
#include "kernels/fusion/definitions.h"

namespace monograph::kernels {
namespace {

int expand(fusion::Builder& b, const Step& step, const fusion::Mapping& mapping) {
  const auto rank = b.desc(step.args[0].tensors.front()).sizes.size();
  const auto dims = fusion::dimensions(step.arg(1, "dim"), rank);
  const DType type = fusion::value_type(step.output.dtype);
  double count = 1;
  for (const std::size_t d : dims) {
    count *= static_cast<double>(b.desc(step.args[0].tensors.front()).sizes[d]);
  }
  const int sum = fusion::reduce_dimensions(b, step, mapping, fusion::ReduceKind::kSum, dims, type);
  return b.compute(type, type, "x0 / x1", {sum, b.number(count, type)});
}

std::vector<Call> samples() {
  std::vector<Call> calls;
  for (const bool keep : {true, false}) {
    for (Call c : fusion::row_samples(
             "aten.mean.dim",
             std::vector<DType>{DType::kF32, DType::kF16, DType::kBF16, DType::kF64},
             {number_argument(std::vector<std::int64_t>{-1}), number_argument(keep)})) {
      TensorDesc& out = c.outputs[0];
      std::vector<std::int64_t> sizes = out.sizes;
      if (keep) sizes.back() = 1;
      if (!keep) sizes.pop_back();
      out = dense(out.dtype, sizes);
      calls.push_back(std::move(c));
    }
  }
  // The first dimension of two: neighbours in memory belong to different rows.
  for (const DType dtype :
       std::vector<DType>{DType::kF32, DType::kF16, DType::kBF16, DType::kF64}) {
    Call c;
    c.op = "aten.mean.dim";
    c.inputs = {dense(dtype, {37, 96})};
    c.args = {tensor_argument(0), number_argument(std::vector<std::int64_t>{0})};
    c.outputs = {dense(dtype, {96})};
    calls.push_back(std::move(c));
  }
  return calls;
}

const Registration kRegistration(fusion::row_definition({
    .name = "mean",
    .ops = {"aten.mean.dim", "aten.mean.default"},
    .summary = "Mean over dimensions.",
    .algorithm = "threads share a row: registers, shuffles, then one value a warp",
    .expand = expand,
    .samples = samples,
}));

}  // namespace
}  // namespace monograph::kernels
