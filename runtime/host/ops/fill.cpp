// Factories whose result is one number everywhere, and aten.empty, whose result is anything.
#include <ATen/core/Tensor.h>
#include <ATen/ops/fill.h>

#include "runtime/host/ops/shapes.h"
#include "runtime/host/step.h"

namespace monograph::host {
namespace {

bool accepts(const ir::Node& node) {
  return node.has_tensor() && node.writes().empty() && node.type().defined() &&
         node.type().device.type == ir::DeviceType::kCpu;
}

HostOp fill(std::string target, std::function<at::Scalar(const Call&)> value) {
  return {.target = std::move(target),
          .name = "host.fill",
          .accepts = accepts,
          .workspace_bytes = {},
          .bind = [value = std::move(value)](const Call& call) -> std::unique_ptr<Step> {
            return make_step(
                [out = call.results[0], number = value(call)]() mutable { out.fill_(number); });
          }};
}

/// The fill value at argument `index`.
std::function<at::Scalar(const Call&)> argument(std::size_t index) {
  return [index](const Call& call) { return call.args[index].toScalar(); };
}
at::Scalar zero(const Call&) {
  return 0;
}
at::Scalar one(const Call&) {
  return 1;
}

const HostOpRegistration kZeros(fill("aten.zeros.default", zero));
const HostOpRegistration kZerosLike(fill("aten.zeros_like.default", zero));
const HostOpRegistration kNewZeros(fill("aten.new_zeros.default", zero));
const HostOpRegistration kOnes(fill("aten.ones.default", one));
const HostOpRegistration kOnesLike(fill("aten.ones_like.default", one));
const HostOpRegistration kNewOnes(fill("aten.new_ones.default", one));
const HostOpRegistration kFull(fill("aten.full.default", argument(1)));
const HostOpRegistration kFullLike(fill("aten.full_like.default", argument(1)));
const HostOpRegistration kNewFull(fill("aten.new_full.default", argument(2)));
const HostOpRegistration kScalarTensor(fill("aten.scalar_tensor.default", argument(0)));

/// Contents undefined: nothing to do.
HostOp nothing(std::string target) {
  return {.target = std::move(target),
          .name = "host.empty",
          .accepts = accepts,
          .workspace_bytes = {},
          .bind = [](const Call&) -> std::unique_ptr<Step> { return make_step([] {}); }};
}
const HostOpRegistration kEmpty(nothing("aten.empty.memory_format"));
const HostOpRegistration kEmptyLike(nothing("aten.empty_like.default"));
const HostOpRegistration kEmptyStrided(nothing("aten.empty_strided.default"));
const HostOpRegistration kNewEmpty(nothing("aten.new_empty.default"));
const HostOpRegistration kNewEmptyStrided(nothing("aten.new_empty_strided.default"));

}  // namespace
}  // namespace monograph::host
