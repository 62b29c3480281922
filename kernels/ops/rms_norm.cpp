// Root-mean-square normalisation over the last dimensions (Zhang & Sennrich, 2019).
#include <limits>

#include "kernels/fusion/definitions.h"

namespace monograph::kernels {
namespace {

using fusion::Builder;
using fusion::Mapping;
using fusion::ReduceKind;

double default_epsilon(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return std::numeric_limits<double>::epsilon();
    case DType::kF16:
      return 0x1p-10;
    case DType::kBF16:
      return 0x1p-7;
    default:
      return static_cast<double>(std::numeric_limits<float>::epsilon());
  }
}

int expand(Builder& b, const Step& step, const Mapping& mapping) {
  const auto* shape =
      step.args.size() < 2 ? nullptr : std::get_if<std::vector<std::int64_t>>(&step.args[1].scalar);
  if (shape == nullptr || shape->size() > mapping.size()) return b.fail("rms_norm of what shape");
  const bool wide = step.output.dtype == DType::kF64;
  const DType type = wide ? DType::kF64 : DType::kF32;
  std::vector<int> axes;
  for (std::size_t d = mapping.size() - shape->size(); d < mapping.size(); ++d) {
    axes.insert(axes.end(), mapping[d].begin(), mapping[d].end());
  }
  // Whoever looks at part of a row still divides by the norm of all of it.
  Mapping whole = mapping;
  if (Builder::is_part(axes)) {
    if (shape->size() != 1) return b.fail("part of a normalised block");
    const Mapping rows(mapping.begin(), mapping.end() - 1);
    axes = b.reduction_axes({shape->front()}, rows);
    whole.back() = axes;
  }
  const int count = b.number(static_cast<double>(b.size_of(axes)), type);
  const int eps =
      b.number(fusion::real(step.arg(3, "eps"), default_epsilon(step.output.dtype)), type);
  const int x = b.compute(type, type, "x0", {b.operand(step.args[0], mapping, type)});
  const int all = b.compute(type, type, "x0", {b.operand(step.args[0], whole, type)});
  const int square = b.compute(type, type, "x0 * x0", {all});
  const int scale = b.compute(type, type, wide ? "rsqrt(x0 / x1 + x2)" : "rsqrtf(x0 / x1 + x2)",
                              {b.reduce(ReduceKind::kSum, square, axes), count, eps});
  const int y = b.compute(type, type, "x0 * x1", {x, scale});
  const Argument* weight = step.arg(2, "weight");
  if (weight == nullptr || !weight->is_tensor()) return y;
  return b.compute(type, type, "x0 * x1", {y, b.operand(*weight, mapping, type)});
}

std::vector<Call> samples() {
  std::vector<Call> calls;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF64}) {
    for (const std::int64_t n : {64, 111, 2048, 8192}) {
      Call c;
      c.op = "aten.rms_norm.default";
      c.inputs = {dense(dtype, {1, 3, n}), dense(dtype, {n})};
      c.args = {tensor_argument(0), number_argument(std::vector<std::int64_t>{n}),
                tensor_argument(1), number_argument(1e-5)};
      c.outputs = {dense(dtype, {1, 3, n})};
      calls.push_back(c);
    }
  }
  return calls;
}

const Registration kRegistration(fusion::row_definition({
    .name = "rms_norm",
    .ops = {"aten.rms_norm.default"},
    .summary = "Root-mean-square normalisation over the last dimensions, with weight.",
    .algorithm = "one pass over registers (Zhang & Sennrich, 2019)",
    .expand = expand,
    .samples = samples,
}));

}  // namespace
}  // namespace monograph::kernels
