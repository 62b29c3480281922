// Softmax along one dimension.
#include "kernels/fusion/definitions.h"

namespace monograph::kernels {
namespace {

using fusion::Builder;
using fusion::Mapping;
using fusion::ReduceKind;

int expand(Builder& b, const Step& step, const Mapping& mapping) {
  const auto dims = fusion::dimensions(step.arg(1, "dim"), mapping.size());
  if (dims.size() != 1) return b.fail("softmax of a scalar");
  const std::vector<int>& axes = mapping[dims[0]];
  const DType type = step.output.dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  const int x = b.compute(type, type, "x0", {b.operand(step.args[0], mapping, type)});
  const int most = b.reduce(ReduceKind::kMax, x, axes);
  const char* exp = type == DType::kF64 ? "exp(x0 - x1)" : "__expf(x0 - x1)";
  const int e = b.compute(type, type, exp, {x, most});
  const int sum = b.reduce(ReduceKind::kSum, e, axes);
  return b.compute(type, type, "x0 / x1", {e, sum});
}

std::vector<Call> samples() {
  return fusion::row_samples("aten._softmax.default",
                             {DType::kF32, DType::kF16, DType::kBF16, DType::kF64},
                             {number_argument(std::int64_t{-1}), number_argument(false)});
}

const Registration kRegistration(fusion::row_definition({
    .name = "softmax",
    .ops = {"aten._softmax.default", "aten.softmax.int"},
    .summary = "Softmax along one dimension.",
    .algorithm = "maximum, then sum of exponentials of differences, both in registers",
    .expand = expand,
    .samples = samples,
}));

}  // namespace
}  // namespace monograph::kernels
