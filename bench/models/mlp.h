// A stack of Linear and ReLU layers: small kernels, so dispatch weighs most.
#pragma once

#include <ATen/ops/relu.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/linear.h>

#include <cstddef>
#include <cstdint>

namespace monograph::bench {

struct MlpImpl : torch::nn::Module {
  /// `depth` layers of `width` x `width`, with random weights as torch initialises them, in eval
  /// mode and without gradients.
  explicit MlpImpl(std::int64_t depth = 8, std::int64_t width = 512) {
    for (std::int64_t i = 0; i < depth; ++i) layers->push_back(torch::nn::Linear(width, width));
    register_module("layers", layers);
    eval();
    for (auto& parameter : parameters()) parameter.requires_grad_(false);
  }

  /// f32[B, width] -> f32[B, width]
  at::Tensor forward(at::Tensor x) {
    for (std::size_t i = 0; i < layers->size(); ++i) {
      x = at::relu(layers->at<torch::nn::LinearImpl>(i).forward(x));
    }
    return x;
  }

  torch::nn::ModuleList layers;
};
TORCH_MODULE(Mlp);

}  // namespace monograph::bench
