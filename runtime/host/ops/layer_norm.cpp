// aten.layer_norm for dense f32 rows.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>

#include "runtime/host/math/rows.h"
#include "runtime/host/ops/shapes.h"
#include "runtime/host/step.h"

namespace monograph::host {
namespace {

/// Product of the normalised sizes; 0 if the argument is no list.
std::int64_t normalised_length(const ir::Node& node) {
  const ir::Arg* sizes = find_arg(node, 1, "normalized_shape");
  if (sizes == nullptr || !sizes->is_list()) return 0;
  std::int64_t product = 1;
  for (const ir::Arg& s : sizes->list()) {
    if (!s.is<std::int64_t>()) return 0;
    product *= s.as<std::int64_t>();
  }
  return product;
}

bool affine_suits(const ir::Node& node, std::size_t index, std::string_view name,
                  std::int64_t length) {
  if (is_absent(node, index, name)) return true;
  const ir::TensorType* t = tensor_arg(node, index, name);
  return t != nullptr && is_f32(*t) && t->is_contiguous() && t->numel() == length;
}

bool accepts(const ir::Node& node) {
  const ir::TensorType* x = tensor_arg(node, 0, "input");
  if (x == nullptr || !is_f32(*x) || !x->is_contiguous() || x->numel() == 0) return false;
  if (!node.has_tensor() || !is_f32(node.type()) || !node.type().is_contiguous()) return false;
  const std::int64_t length = normalised_length(node);
  return length > 0 && affine_suits(node, 2, "weight", length) &&
         affine_suits(node, 3, "bias", length);
}

struct LayerNorm final : Step {
  explicit LayerNorm(const Call& call)
      : x(call.tensor(0)),
        y(call.results[0]),
        eps(static_cast<float>(call.args[4].toDouble())),
        length(normalised_length(call.node)),
        rows(x.numel() / length) {
    if (call.args[2].isTensor()) weight = call.tensor(2);
    if (call.args[3].isTensor()) bias = call.tensor(3);
  }

  void run() override {
    const float* from = x.const_data_ptr<float>();
    const float* w = weight.defined() ? weight.const_data_ptr<float>() : nullptr;
    const float* b = bias.defined() ? bias.const_data_ptr<float>() : nullptr;
    float* to = y.mutable_data_ptr<float>();
    constexpr std::int64_t kElementsPerThread = std::int64_t{1} << 15;
    at::parallel_for(0, rows, std::max<std::int64_t>(1, kElementsPerThread / length),
                     [&](std::int64_t first, std::int64_t last) {
                       for (std::int64_t i = first; i < last; ++i) {
                         math::layer_norm_row(from + i * length, w, b, to + i * length, length,
                                              eps);
                       }
                     });
  }

  at::Tensor x;
  at::Tensor weight;
  at::Tensor bias;
  at::Tensor y;
  float eps;
  std::int64_t length;
  std::int64_t rows;
};

const HostOpRegistration kLayerNorm({.target = "aten.layer_norm.default",
                                     .name = "host.layer_norm",
                                     .accepts = accepts,
                                     .workspace_bytes = {},
                                     .bind = [](const Call& call) -> std::unique_ptr<Step> {
                                       return std::make_unique<LayerNorm>(call);
                                     }});

}  // namespace
}  // namespace monograph::host
