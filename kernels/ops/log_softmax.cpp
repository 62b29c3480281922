// Logarithm of the softmax along one dimension.
#include "kernels/fusion/definitions.h"

namespace monograph::kernels {
namespace {

using fusion::Builder;
using fusion::Mapping;
using fusion::ReduceKind;

int expand(Builder& b, const Step& step, const Mapping& mapping) {
  const auto dims = fusion::dimensions(step.arg(1, "dim"), mapping.size());
  if (dims.size() != 1) return b.fail("log_softmax of a scalar");
  const std::vector<int>& axes = mapping[dims[0]];
  const bool wide = step.output.dtype == DType::kF64;
  const DType type = wide ? DType::kF64 : DType::kF32;
  const int x = b.compute(type, type, "x0", {b.operand(step.args[0], mapping, type)});
  const int most = b.reduce(ReduceKind::kMax, x, axes);
  const int e = b.compute(type, type, wide ? "exp(x0 - x1)" : "expf(x0 - x1)", {x, most});
  const int log =
      b.compute(type, type, wide ? "log(x0)" : "logf(x0)", {b.reduce(ReduceKind::kSum, e, axes)});
  return b.compute(type, type, "x0 - x1 - x2", {x, most, log});
}

std::vector<Call> samples() {
  return fusion::row_samples("aten._log_softmax.default",
                             {DType::kF32, DType::kF16, DType::kBF16, DType::kF64},
                             {number_argument(std::int64_t{-1}), number_argument(false)});
}

const Registration kRegistration(fusion::row_definition({
    .name = "log_softmax",
    .ops = {"aten._log_softmax.default", "aten.log_softmax.int"},
    .summary = "Logarithm of the softmax along one dimension.",
    .algorithm = "maximum, then logarithm of the sum of exponentials of differences",
    .expand = expand,
    .samples = samples,
}));

}  // namespace
}  // namespace monograph::kernels
