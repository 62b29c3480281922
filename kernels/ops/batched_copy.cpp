// Copies of several small tensors in one launch: inputs that a plan wants at addresses of its own.
#include "kernels/fusion/definitions.h"
#include "kernels/fusion/pointwise.h"

namespace monograph::kernels {
namespace {

/// A fusion of copies that stand side by side.
Call as_fusion(const Call& call) {
  Call f = call;
  f.op = "fusion";
  f.args.clear();
  Body body;
  for (std::size_t i = 0; i < call.inputs.size(); ++i) {
    const auto tensor = static_cast<std::int32_t>(i);
    f.args.push_back(tensor_argument(tensor));
    body.steps.push_back({"aten.clone.default", {tensor_argument(tensor)}, {}, call.outputs[i]});
    body.outputs.push_back(static_cast<std::int32_t>(call.inputs.size()) + tensor);
  }
  f.body = std::make_shared<Body>(std::move(body));
  return f;
}

Match match(const Call& call, const Target& target) {
  if (call.inputs.empty() || call.inputs.size() != call.outputs.size())
    return Match::no("operands");
  for (std::size_t i = 0; i < call.inputs.size(); ++i) {
    const TensorDesc& from = call.inputs[i];
    const TensorDesc& to = call.outputs[i];
    if (from.dtype != to.dtype || from.sizes != to.sizes) return Match::no("unlike tensors");
  }
  return fusion::pointwise_instance(as_fusion(call), target, "mg_batched_copy");
}

std::vector<Call> samples() {
  Call c;
  c.op = "monograph.batched_copy";
  c.inputs = {dense(DType::kI64, {1}),    dense(DType::kF32, {1, 111}, 4),
              dense(DType::kBool, {37}),  dense(DType::kBF16, {4, 989}, 2),
              dense(DType::kI32, {5}, 4), dense(DType::kF64, {3, 300})};
  for (const TensorDesc& t : c.inputs) c.outputs.push_back(dense(t.dtype, t.sizes));
  for (std::int32_t i = 0; i < 6; ++i) c.args.push_back(tensor_argument(i));
  return {c};
}

const Registration kRegistration({
    .name = "batched_copy",
    .summary = "Copies of several tensors, each to a place of its own.",
    .algorithm = "ranges of blocks a tensor, one thread per 16 bytes",
    .ops = {"monograph.batched_copy"},
    .match = match,
    .samples = samples,
});

}  // namespace
}  // namespace monograph::kernels
