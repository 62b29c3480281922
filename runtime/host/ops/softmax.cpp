// aten.softmax and aten._softmax over the last, dense dimension of f32.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstring>

#include "runtime/host/math/rows.h"
#include "runtime/host/ops/shapes.h"
#include "runtime/host/step.h"

namespace monograph::host {
namespace {

/// A third argument that asks for another type than f32, or for a conversion.
bool converts(const ir::Node& node) {
  const ir::Arg* arg = node.args().size() > 2 ? &node.args()[2] : node.kwarg("dtype");
  if (arg == nullptr || arg->is_none()) return false;
  if (const auto* half_to_float = arg->get_if<bool>()) return *half_to_float;
  return !arg->is<ir::DType>() || arg->as<ir::DType>() != ir::DType::kF32;
}

bool accepts(const ir::Node& node) {
  const ir::TensorType* x = tensor_arg(node, 0, "self");
  const ir::Arg* dim = find_arg(node, 1, "dim");
  if (x == nullptr || dim == nullptr || !dim->is<std::int64_t>() || converts(node)) return false;
  if (!is_f32(*x) || !x->is_contiguous() || x->rank() < 1 || x->numel() == 0) return false;
  if (!node.has_tensor() || !is_f32(node.type()) || !node.type().is_contiguous()) return false;
  const std::int64_t d = dim->as<std::int64_t>();
  return d == -1 || d == x->rank() - 1;
}

std::unique_ptr<Step> bind(const Call& call) {
  const std::int64_t length = call.tensor(0).size(-1);
  const std::int64_t rows = call.tensor(0).numel() / length;
  return make_step([x = call.tensor(0), y = call.results[0], length, rows]() mutable {
    const float* from = x.const_data_ptr<float>();
    float* to = y.mutable_data_ptr<float>();
    constexpr std::int64_t kElementsPerThread = std::int64_t{1} << 14;
    at::parallel_for(0, rows, std::max<std::int64_t>(1, kElementsPerThread / length),
                     [&](std::int64_t first, std::int64_t last) {
                       for (std::int64_t i = first; i < last; ++i) {
                         float* row = to + i * length;
                         std::memcpy(row, from + i * length,
                                     static_cast<std::size_t>(length) * sizeof(float));
                         math::softmax_row(row, nullptr, 1.0F, length);
                       }
                     });
  });
}

HostOp softmax(std::string target) {
  return {.target = std::move(target),
          .name = "host.softmax",
          .accepts = accepts,
          .workspace_bytes = {},
          .bind = bind};
}

const HostOpRegistration kSoftmax(softmax("aten.softmax.int"));
const HostOpRegistration kUnderSoftmax(softmax("aten._softmax.default"));

}  // namespace
}  // namespace monograph::host
