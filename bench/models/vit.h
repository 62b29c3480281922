// Vision transformer for inference: https://arxiv.org/abs/2010.11929
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <cstdint>

namespace monograph::bench {

/// Sizes of the network; as they stand, ViT-B/16.
struct VitConfig {
  std::int64_t image_size = 224;
  std::int64_t patch_size = 16;
  std::int64_t hidden_size = 768;
  std::int64_t num_hidden_layers = 12;
  std::int64_t num_attention_heads = 12;
  std::int64_t intermediate_size = 3072;
  std::int64_t classes = 1000;
};

struct VitLayerImpl : torch::nn::Module {
  explicit VitLayerImpl(const VitConfig& config);
  /// [B, T, H] -> [B, T, H]
  at::Tensor forward(const at::Tensor& hidden);

  torch::nn::LayerNorm ln_1{nullptr}, ln_2{nullptr};
  torch::nn::Linear qkv{nullptr}, proj{nullptr}, fc1{nullptr}, fc2{nullptr};
  std::int64_t heads;
};
TORCH_MODULE(VitLayer);

struct VitImpl : torch::nn::Module {
  explicit VitImpl(const VitConfig& config);
  /// images [B, 3, image_size, image_size] -> scores [B, classes]
  at::Tensor forward(const at::Tensor& images);

  torch::nn::Conv2d patches{nullptr};
  torch::nn::ModuleList layers;
  torch::nn::LayerNorm ln{nullptr};
  torch::nn::Linear head{nullptr};
  at::Tensor class_token;  ///< [1, 1, H]
  at::Tensor positions;    ///< [1, T, H]
};
TORCH_MODULE(Vit);

}  // namespace monograph::bench
