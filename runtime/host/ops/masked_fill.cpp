// aten.masked_fill: a copy, then LibTorch's in-place form.
#include <ATen/core/Tensor.h>
#include <ATen/ops/masked_fill.h>

#include "runtime/host/ops/shapes.h"
#include "runtime/host/step.h"

namespace monograph::host {
namespace {

bool accepts(const ir::Node& node) {
  const ir::TensorType* x = tensor_arg(node, 0, "self");
  return x != nullptr && tensor_arg(node, 1, "mask") != nullptr && node.has_tensor() &&
         node.writes().empty() && x->dtype == node.type().dtype;
}

std::unique_ptr<Step> bind(const Call& call) {
  // A broadcast self is copied as wide as the result.
  const at::Tensor self = call.tensor(0).expand(call.results[0].sizes());
  return make_step([self, mask = call.tensor(1), value = call.args[2].toScalar(),
                    y = call.results[0]]() mutable {
    y.copy_(self);
    y.masked_fill_(mask, value);
  });
}

const HostOpRegistration kMaskedFill({.target = "aten.masked_fill.Scalar",
                                      .name = "host.masked_fill",
                                      .accepts = accepts,
                                      .workspace_bytes = {},
                                      .bind = bind});

}  // namespace
}  // namespace monograph::host
