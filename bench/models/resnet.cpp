#include "bench/models/resnet.h"

#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/relu.h>

namespace monograph::bench {
namespace {

constexpr std::int64_t kExpansion = 4;

torch::nn::Conv2d make_conv(std::int64_t in, std::int64_t out, std::int64_t kernel,
                            std::int64_t stride) {
  return torch::nn::Conv2d(
      torch::nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).bias(false));
}

torch::nn::Sequential make_stage(std::int64_t inputs, std::int64_t width, std::int64_t blocks,
                                 std::int64_t stride) {
  torch::nn::Sequential stage(Bottleneck(inputs, width, stride));
  for (std::int64_t i = 1; i < blocks; ++i) {
    stage->push_back(Bottleneck(width * kExpansion, width, 1));
  }
  return stage;
}

}  // namespace

BottleneckImpl::BottleneckImpl(std::int64_t inputs, std::int64_t width, std::int64_t stride) {
  const std::int64_t outputs = width * kExpansion;
  conv1 = register_module("conv1", make_conv(inputs, width, 1, 1));
  bn1 = register_module("bn1", torch::nn::BatchNorm2d(width));
  conv2 = register_module("conv2", make_conv(width, width, 3, stride));
  bn2 = register_module("bn2", torch::nn::BatchNorm2d(width));
  conv3 = register_module("conv3", make_conv(width, outputs, 1, 1));
  bn3 = register_module("bn3", torch::nn::BatchNorm2d(outputs));
  if (stride == 1 && inputs == outputs) return;
  downsample =
      register_module("downsample", torch::nn::Sequential(make_conv(inputs, outputs, 1, stride),
                                                          torch::nn::BatchNorm2d(outputs)));
}

at::Tensor BottleneckImpl::forward(const at::Tensor& x) {
  auto y = at::relu(bn1(conv1(x)));
  y = at::relu(bn2(conv2(y)));
  y = bn3(conv3(y));
  return at::relu(y + (downsample.is_empty() ? x : downsample->forward(x)));
}

ResNetImpl::ResNetImpl(std::array<std::int64_t, 4> blocks, std::int64_t classes) {
  constexpr std::int64_t kWidth = 64;
  conv1 = register_module("conv1", make_conv(3, kWidth, 7, 2));
  bn1 = register_module("bn1", torch::nn::BatchNorm2d(kWidth));
  layer1 = register_module("layer1", make_stage(kWidth, kWidth, blocks[0], 1));
  layer2 = register_module("layer2", make_stage(4 * kWidth, 2 * kWidth, blocks[1], 2));
  layer3 = register_module("layer3", make_stage(8 * kWidth, 4 * kWidth, blocks[2], 2));
  layer4 = register_module("layer4", make_stage(16 * kWidth, 8 * kWidth, blocks[3], 2));
  fc = register_module("fc", torch::nn::Linear(32 * kWidth, classes));
}

at::Tensor ResNetImpl::forward(const at::Tensor& images) {
  auto x = at::relu(bn1(conv1(images)));
  x = at::max_pool2d(x, 3, 2, 1);
  x = layer1->forward(x);
  x = layer2->forward(x);
  x = layer3->forward(x);
  x = layer4->forward(x);
  return fc(at::adaptive_avg_pool2d(x, {1, 1}).flatten(1));
}

}  // namespace monograph::bench
