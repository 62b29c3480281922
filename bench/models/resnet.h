// Residual network of bottleneck blocks: https://arxiv.org/abs/1512.03385, strides in the 3x3
// convolution as torchvision has them.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <array>
#include <cstdint>

namespace monograph::bench {

struct BottleneckImpl : torch::nn::Module {
  /// `inputs` channels to 4 * `width`; `stride` 2 halves the picture.
  BottleneckImpl(std::int64_t inputs, std::int64_t width, std::int64_t stride);
  at::Tensor forward(const at::Tensor& x);

  torch::nn::Conv2d conv1{nullptr}, conv2{nullptr}, conv3{nullptr};
  torch::nn::BatchNorm2d bn1{nullptr}, bn2{nullptr}, bn3{nullptr};
  torch::nn::Sequential downsample{nullptr};  ///< null where shapes agree
};
TORCH_MODULE(Bottleneck);

struct ResNetImpl : torch::nn::Module {
  /// `blocks` of each of the four stages; {3, 4, 6, 3} is ResNet-50.
  explicit ResNetImpl(std::array<std::int64_t, 4> blocks = {3, 4, 6, 3},
                      std::int64_t classes = 1000);
  /// images [B, 3, S, S] -> scores [B, classes]
  at::Tensor forward(const at::Tensor& images);

  torch::nn::Conv2d conv1{nullptr};
  torch::nn::BatchNorm2d bn1{nullptr};
  torch::nn::Sequential layer1, layer2, layer3, layer4;
  torch::nn::Linear fc{nullptr};
};
TORCH_MODULE(ResNet);

}  // namespace monograph::bench
