// Rows of a table by number: embedding and index_select.
#include "kernels/fusion/definitions.h"
#include "kernels/fusion/pointwise.h"

namespace monograph::kernels {
namespace {

using fusion::Builder;
using fusion::Mapping;

int expand(Builder& b, const Step& step, const Mapping& mapping) {
  const bool embedding = step.op == "aten.embedding.default";
  const std::size_t index_arg = embedding ? 1 : 2;
  if (step.args.size() <= index_arg || !step.args[0].is_tensor() ||
      !step.args[index_arg].is_tensor()) {
    return b.fail(step.op);
  }
  const std::size_t rank = b.desc(step.args[0].tensors.front()).sizes.size();
  const std::int32_t index = step.args[index_arg].tensors.front();
  if (embedding) {  // weight [V, D], indices [...] -> [..., D]
    const Mapping at(mapping.begin(), mapping.end() - 1);
    const int row = b.value(index, at);
    return b.gather(step.args[0], {{}, mapping.back()}, 0, row);
  }
  const auto dims = fusion::dimensions(&step.args[1], rank);
  if (dims.size() != 1) return b.fail("index_select of a scalar");
  Mapping rest = mapping;
  rest[dims[0]].clear();
  const bool scalar = b.desc(index).sizes.empty();
  const int row = b.value(index, scalar ? Mapping{} : Mapping{mapping[dims[0]]});
  return b.gather(step.args[0], rest, dims[0], row);
}

std::vector<Call> samples() {
  std::vector<Call> calls;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    Call c;
    c.op = "aten.embedding.default";
    c.args = {tensor_argument(0), tensor_argument(1)};
    for (const std::int64_t d : {64, 111}) {
      c.inputs = {dense(dtype, {10, d}), dense(DType::kI64, {2, 3})};
      c.outputs = {dense(dtype, {2, 3, d})};
      calls.push_back(c);
    }
    c.op = "aten.index_select.default";
    c.args = {tensor_argument(0), number_argument(std::int64_t{0}), tensor_argument(1)};
    c.inputs = {dense(dtype, {10, 64}), dense(DType::kI64, {1})};
    c.outputs = {dense(dtype, {1, 64})};
    calls.push_back(c);
    c.args[1] = number_argument(std::int64_t{1});
    c.inputs = {dense(dtype, {3, 10}), dense(DType::kI64, {7})};
    c.outputs = {dense(dtype, {3, 7})};
    calls.push_back(std::move(c));
  }
  return calls;
}

Definition definition() {
  Definition d;
  d.name = "gather_rows";
  d.summary = "Rows of a table by number.";
  d.algorithm = "one thread per 16 bytes of the result";
  d.ops = {"aten.embedding.default", "aten.index_select.default"};
  d.match = [](const Call& c, const Target& t) {
    return fusion::pointwise_instance(c, t, "mg_gather_rows");
  };
  d.expand = expand;
  d.samples = samples;
  return d;
}

const Registration kRegistration(definition());

}  // namespace
}  // namespace monograph::kernels
