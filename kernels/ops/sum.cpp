// Sum over dimensions.
#include "kernels/fusion/definitions.h"

namespace monograph::kernels {
namespace {

int expand(fusion::Builder& b, const Step& step, const fusion::Mapping& mapping) {
  const auto rank = b.desc(step.args[0].tensors.front()).sizes.size();
  return fusion::reduce_dimensions(b, step, mapping, fusion::ReduceKind::kSum,
                                   fusion::dimensions(step.arg(1, "dim"), rank),
                                   fusion::value_type(step.output.dtype));
}

std::vector<Call> samples() {
  return fusion::reduction_samples(
      "aten.sum.dim_IntList", {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI64},
      fusion::dim_list);
}

const Registration kRegistration(fusion::row_definition({
    .name = "sum",
    .ops = {"aten.sum.dim_IntList", "aten.sum.default"},
    .summary = "Sum over dimensions.",
    .algorithm = "threads share a row: registers, shuffles, then one value a warp",
    .expand = expand,
    .samples = samples,
}));

}  // namespace
}  // namespace monograph::kernels
