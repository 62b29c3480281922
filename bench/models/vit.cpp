#include "bench/models/vit.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <fmt/format.h>
#include <monograph/region.h>

namespace monograph::bench {
namespace {

torch::nn::LayerNorm make_norm(const VitConfig& config) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({config.hidden_size}).eps(1e-6));
}

}  // namespace

VitLayerImpl::VitLayerImpl(const VitConfig& config) : heads(config.num_attention_heads) {
  const auto width = config.hidden_size;
  ln_1 = register_module("ln_1", make_norm(config));
  qkv = register_module("qkv", torch::nn::Linear(width, 3 * width));
  proj = register_module("proj", torch::nn::Linear(width, width));
  ln_2 = register_module("ln_2", make_norm(config));
  fc1 = register_module("fc1", torch::nn::Linear(width, config.intermediate_size));
  fc2 = register_module("fc2", torch::nn::Linear(config.intermediate_size, width));
}

at::Tensor VitLayerImpl::forward(const at::Tensor& hidden) {
  const auto batch = hidden.size(0), tokens = hidden.size(1), width = hidden.size(2);
  const auto parts =
      qkv(ln_1(hidden)).view({batch, tokens, 3, heads, width / heads}).permute({2, 0, 3, 1, 4});
  const auto mixed = at::scaled_dot_product_attention(parts[0], parts[1], parts[2]);
  const auto middle = hidden + proj(mixed.transpose(1, 2).reshape({batch, tokens, width}));
  return middle + fc2(at::gelu(fc1(ln_2(middle))));
}

VitImpl::VitImpl(const VitConfig& config) {
  const auto width = config.hidden_size, side = config.image_size / config.patch_size;
  patches = register_module(
      "patches",
      torch::nn::Conv2d(
          torch::nn::Conv2dOptions(3, width, config.patch_size).stride(config.patch_size)));
  class_token = register_parameter("class_token", 0.02 * at::randn({1, 1, width}));
  positions = register_parameter("positions", 0.02 * at::randn({1, side * side + 1, width}));
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) layers->push_back(VitLayer(config));
  register_module("layers", layers);
  ln = register_module("ln", make_norm(config));
  head = register_module("head", torch::nn::Linear(width, config.classes));
}

at::Tensor VitImpl::forward(const at::Tensor& images) {
  const auto batch = images.size(0), width = class_token.size(2);
  auto hidden = at::cat(
      {class_token.expand({batch, 1, width}), patches(images).flatten(2).transpose(1, 2)}, 1);
  hidden = hidden + positions;
  for (std::size_t i = 0; i < layers->size(); ++i) {
    const Region region(fmt::format("layers.{}", i));
    hidden = layers->at<VitLayerImpl>(i).forward(hidden);
  }
  return head(ln(hidden).select(1, 0));
}

}  // namespace monograph::bench
