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
  return fusion::reduction_samples(
      "aten.mean.dim", {DType::kF32, DType::kF16, DType::kBF16, DType::kF64}, fusion::dim_list);
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
