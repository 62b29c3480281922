// aten.gelu (the exact form) for dense f32.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>

#include "runtime/host/math/rows.h"
#include "runtime/host/ops/shapes.h"
#include "runtime/host/step.h"

namespace monograph::host {
namespace {

bool accepts(const ir::Node& node) {
  const ir::TensorType* x = tensor_arg(node, 0, "self");
  const ir::Arg* approximate = find_arg(node, 1, "approximate");
  if (approximate != nullptr && !(*approximate == ir::Arg("none"))) return false;
  return x != nullptr && is_f32(*x) && x->is_contiguous() && node.has_tensor() &&
         is_f32(node.type()) && node.type().is_contiguous();
}

std::unique_ptr<Step> bind(const Call& call) {
  return make_step([x = call.tensor(0), y = call.results[0]]() mutable {
    const float* from = x.const_data_ptr<float>();
    float* to = y.mutable_data_ptr<float>();
    // Blocks are the same for any number of threads, so vectorised bodies and remainders are too.
    constexpr std::int64_t kBlock = 2048;
    constexpr std::int64_t kBlocksPerThread = 8;
    const std::int64_t count = x.numel();
    at::parallel_for(0, (count + kBlock - 1) / kBlock, kBlocksPerThread,
                     [&](std::int64_t first, std::int64_t last) {
                       for (std::int64_t b = first; b < last; ++b) {
                         const std::int64_t start = b * kBlock;
                         math::gelu(from + start, to + start, std::min(kBlock, count - start));
                       }
                     });
  });
}

const HostOpRegistration kGelu({.target = "aten.gelu.default",
                                .name = "host.gelu",
                                .accepts = accepts,
                                .workspace_bytes = {},
                                .bind = bind});

}  // namespace
}  // namespace monograph::host
