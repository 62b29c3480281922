// Layer normalisation over the last dimensions.
#include "kernels/fusion/definitions.h"

namespace monograph::kernels {
namespace {

using fusion::Builder;
using fusion::Mapping;
using fusion::ReduceKind;

/// Axes of the last dimensions, as many as `shape` lists.
std::vector<int> last_axes(const Mapping& mapping, const Argument* shape) {
  std::vector<int> axes;
  const auto* list = std::get_if<std::vector<std::int64_t>>(&shape->scalar);
  if (list == nullptr || list->size() > mapping.size()) return axes;
  for (std::size_t d = mapping.size() - list->size(); d < mapping.size(); ++d) {
    axes.insert(axes.end(), mapping[d].begin(), mapping[d].end());
  }
  return axes;
}

int expand(Builder& b, const Step& step, const Mapping& mapping) {
  if (step.args.size() < 2) return b.fail("layer_norm without a shape");
  const bool wide = step.output.dtype == DType::kF64;
  const DType type = wide ? DType::kF64 : DType::kF32;
  const std::vector<int> axes = last_axes(mapping, &step.args[1]);
  const int count = b.number(static_cast<double>(b.size_of(axes)), type);
  const int eps = b.number(fusion::real(step.arg(4, "eps"), 1e-5), type);
  const int x = b.compute(type, type, "x0", {b.operand(step.args[0], mapping, type)});
  const int mean = b.compute(type, type, "x0 / x1", {b.reduce(ReduceKind::kSum, x, axes), count});
  const int d = b.compute(type, type, "x0 - x1", {x, mean});
  const int square = b.compute(type, type, "x0 * x0", {d});
  const int scale = b.compute(type, type, wide ? "rsqrt(x0 / x1 + x2)" : "rsqrtf(x0 / x1 + x2)",
                              {b.reduce(ReduceKind::kSum, square, axes), count, eps});
  int y = b.compute(type, type, "x0 * x1", {d, scale});
  const Argument* weight = step.arg(2, "weight");
  if (weight != nullptr && weight->is_tensor()) {
    y = b.compute(type, type, "x0 * x1", {y, b.operand(*weight, mapping, type)});
  }
  const Argument* bias = step.arg(3, "bias");
  if (bias != nullptr && bias->is_tensor()) {
    y = b.compute(type, type, "x0 + x1", {y, b.operand(*bias, mapping, type)});
  }
  return y;
}

std::vector<Call> samples() {
  std::vector<Call> calls;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF64}) {
    for (const std::int64_t n : {64, 111, 384, 2048}) {
      Call c;
      c.op = "aten.layer_norm.default";
      c.inputs = {dense(dtype, {2, 3, n}), dense(dtype, {n}), dense(dtype, {n})};
      c.args = {tensor_argument(0), number_argument(std::vector<std::int64_t>{n}),
                tensor_argument(1), tensor_argument(2), number_argument(1e-6)};
      c.outputs = {dense(dtype, {2, 3, n})};
      calls.push_back(c);
    }
  }
  Call bare = calls.front();  // two dimensions, neither weight nor bias
  bare.inputs.resize(1);
  bare.args = {tensor_argument(0), number_argument(std::vector<std::int64_t>{3, 64})};
  calls.push_back(bare);
  return calls;
}

const Registration kRegistration(fusion::row_definition({
    .name = "layer_norm",
    .ops = {"aten.layer_norm.default"},
    .summary = "Layer normalisation over the last dimensions, with weight and bias.",
    .algorithm = "two passes over registers: mean, then variance of differences",
    .expand = expand,
    .samples = samples,
}));

}  // namespace
}  // namespace monograph::kernels
