// Position of the first smallest element.
#include "kernels/fusion/definitions.h"

namespace monograph::kernels {
namespace {

int expand(fusion::Builder& b, const Step& step, const fusion::Mapping& mapping) {
  const auto rank = b.desc(step.args[0].tensors.front()).sizes.size();
  const auto dims = fusion::dimensions(step.arg(1, "dim"), rank);
  const DType type = fusion::value_type(b.desc(step.args[0].tensors.front()).dtype);
  return fusion::reduce_dimensions(b, step, mapping, fusion::ReduceKind::kArgMin, dims, type);
}

std::vector<Call> samples() {
  return fusion::reduction_samples(
      "aten.argmin.default", {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI64},
      fusion::dim_number, DType::kI64);
}

const Registration kRegistration(fusion::row_definition({
    .name = "argmin",
    .ops = {"aten.argmin.default"},
    .summary = "Position of the first smallest element; NaN counts as smallest.",
    .algorithm = "threads share a row: registers, shuffles, then one value a warp",
    .expand = expand,
    .samples = samples,
}));

}  // namespace
}  // namespace monograph::kernels
