// aten.sum and aten.mean over everything, by the forms over dimensions, which write into place.
#include <ATen/core/Tensor.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/sum.h>

#include "runtime/host/ops/shapes.h"
#include "runtime/host/step.h"

namespace monograph::host {
namespace {

bool accepts(const ir::Node& node) {
  return tensor_arg(node, 0, "self") != nullptr && node.has_tensor() && node.type().defined();
}

/// `reduce(out, x)` writes into `out`, whose dtype says what is asked for.
template <class Fn>
HostOp over_all(std::string target, Fn reduce) {
  return {.target = std::move(target),
          .name = "host.reduce_all",
          .accepts = accepts,
          .workspace_bytes = {},
          .bind = [reduce](const Call& call) -> std::unique_ptr<Step> {
            return make_step(
                [reduce, x = call.tensor(0), out = call.results[0]]() mutable { reduce(out, x); });
          }};
}

const HostOpRegistration kSum(over_all("aten.sum.default", [](at::Tensor& out,
                                                              const at::Tensor& x) {
  at::sum_out(out, x, at::OptionalIntArrayRef(at::IntArrayRef{}), false, out.scalar_type());
}));
const HostOpRegistration kMean(over_all("aten.mean.default", [](at::Tensor& out,
                                                                const at::Tensor& x) {
  at::mean_out(out, x, at::OptionalIntArrayRef(at::IntArrayRef{}), false, out.scalar_type());
}));

}  // namespace
}  // namespace monograph::host
