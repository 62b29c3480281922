// Operators whose result is their argument's elements in other memory: one copy into place.
#include <ATen/core/Tensor.h>
#include <ATen/ops/copy.h>

#include "runtime/host/ops/shapes.h"
#include "runtime/host/step.h"

namespace monograph::host {
namespace {

bool accepts(const ir::Node& node) {
  const ir::TensorType* x = tensor_arg(node, 0, "self");
  return x != nullptr && node.has_tensor() && node.writes().empty() && node.type().defined() &&
         node.type().device.type == ir::DeviceType::kCpu && x->numel() == node.type().numel() &&
         !(x->dtype >= ir::DType::kC64 && x->dtype <= ir::DType::kC128);
}

bool accepts_same_sizes(const ir::Node& node) {
  return accepts(node) && tensor_arg(node, 0, "self")->sizes == node.type().sizes;
}

/// A reshape copies in the argument's own order: the result is contiguous and is written as if it
/// had the argument's sizes.
bool accepts_reshape(const ir::Node& node) {
  return accepts(node) && node.type().is_contiguous() &&
         tensor_arg(node, 0, "self")->dtype == node.type().dtype;
}

std::unique_ptr<Step> bind(const Call& call) {
  const at::Tensor from = call.tensor(0);
  const at::Tensor to = call.results[0].sizes() == from.sizes()
                            ? call.results[0]
                            : call.results[0].view(from.sizes());
  return make_step([from, to]() mutable { to.copy_(from); });
}

HostOp copy(std::string target, bool (*suits)(const ir::Node&)) {
  return {.target = std::move(target),
          .name = "host.copy",
          .accepts = suits,
          .workspace_bytes = {},
          .bind = bind};
}

const HostOpRegistration kClone(copy("aten.clone.default", accepts_same_sizes));
const HostOpRegistration kContiguous(copy("aten.contiguous.default", accepts_same_sizes));
const HostOpRegistration kToCopy(copy("aten._to_copy.default", accepts_same_sizes));
const HostOpRegistration kToDtype(copy("aten.to.dtype", accepts_same_sizes));
const HostOpRegistration kReshape(copy("aten.reshape.default", accepts_reshape));
const HostOpRegistration kReshapeCopy(copy("aten._reshape_copy.default", accepts_reshape));

}  // namespace
}  // namespace monograph::host
