// Smallest element over dimensions.
#include "kernels/fusion/definitions.h"

namespace monograph::kernels {
namespace {

int expand(fusion::Builder& b, const Step& step, const fusion::Mapping& mapping) {
  const auto rank = b.desc(step.args[0].tensors.front()).sizes.size();
  return fusion::reduce_dimensions(b, step, mapping, fusion::ReduceKind::kMin,
                                   fusion::dimensions(step.arg(1, "dim"), rank),
                                   fusion::value_type(step.output.dtype));
}

std::vector<Call> samples() {
  return fusion::reduction_samples(
      "aten.amin.default", {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI64},
      fusion::dim_list);
}

const Registration kRegistration(fusion::row_definition({
    .name = "amin",
    .ops = {"aten.amin.default"},
    .summary = "Smallest element over dimensions; NaN if there is one.",
    .algorithm = "threads share a row: registers, shuffles, then one value a warp",
    .expand = expand,
    .samples = samples,
}));

}  // namespace
}  // namespace monograph::kernels
