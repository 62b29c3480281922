// Concatenation of equal pieces, within fusions and alone.
#include "kernels/fusion/definitions.h"
#include "kernels/fusion/pointwise.h"

namespace monograph::kernels {
namespace {

using fusion::Builder;
using fusion::Mapping;

int expand(Builder& b, const Step& step, const Mapping& mapping) {
  if (step.args.empty() || step.args[0].tensors.empty()) return b.fail("cat of nothing");
  const std::vector<std::int32_t>& tensors = step.args[0].tensors;
  const Argument* d = step.arg(1, "dim");
  const auto dims = fusion::dimensions(d, mapping.size());
  const std::size_t dim = d == nullptr ? 0 : dims.front();
  for (const std::int32_t t : tensors) {
    if (b.desc(t).sizes != b.desc(tensors[0]).sizes) return b.fail("cat of unequal pieces");
  }
  const auto split = b.pieces(mapping[dim], static_cast<std::int64_t>(tensors.size()));
  if (!split) return -1;
  Mapping inner = mapping;
  inner[dim] = split->second;
  const int which = b.coordinate(split->first);
  const DType type = fusion::value_type(step.output.dtype);
  int out = b.value(tensors[0], inner);
  for (std::size_t i = 1; i < tensors.size(); ++i) {
    const int at = b.number(static_cast<std::int64_t>(i), DType::kI64);
    const int here = b.compute(DType::kI64, DType::kBool, "(x0 == x1)", {which, at});
    out = b.compute(type, type, "(x0 != 0 ? x1 : x2)", {here, b.value(tensors[i], inner), out});
  }
  return out;
}

std::vector<Call> samples() {
  std::vector<Call> calls;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI64}) {
    for (const std::int64_t n : {32, 7}) {
      Call c;
      c.op = "aten.cat.default";
      c.args = {{{0, 1}, true, {}}, number_argument(std::int64_t{-1})};
      c.inputs = {dense(dtype, {3, n}), dense(dtype, {3, n})};
      c.outputs = {dense(dtype, {3, 2 * n})};
      calls.push_back(std::move(c));
    }
  }
  return calls;
}

Definition definition() {
  Definition d;
  d.name = "cat";
  d.summary = "Concatenation of equal pieces.";
  d.algorithm = "one thread per 16 bytes; the piece is chosen by position";
  d.ops = {"aten.cat.default"};
  d.match = [](const Call& c, const Target& t) {
    return fusion::pointwise_instance(c, t, "mg_cat");
  };
  d.expand = expand;
  d.samples = samples;
  return d;
}

const Registration kRegistration(definition());

}  // namespace
}  // namespace monograph::kernels
