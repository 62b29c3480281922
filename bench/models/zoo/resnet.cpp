#include "bench/models/resnet.h"

#include <ATen/ops/randn.h>

#include "bench/models/zoo/build.h"

namespace monograph::bench {
namespace {

// Statistics as a trained network has them, so that values stay in range.
void draw_statistics(torch::nn::Module& module) {
  for (auto& buffer : module.named_buffers()) {
    if (buffer.key().ends_with("running_mean")) buffer.value().normal_(0, 0.1);
    if (buffer.key().ends_with("running_var")) buffer.value().uniform_(0.5, 1.5);
  }
}

ModelCase make_resnet(const ModelOptions& options) {
  constexpr std::int64_t kSide = 224;
  constexpr double kFlopPerImage = 2 * 4.09e9;  // of ResNet-50
  seed_drawing(options.seed);
  const bool whole = options.layers == 0;
  ResNet network = whole ? ResNet() : ResNet(std::array<std::int64_t, 4>{1, 1, 1, 1});
  draw_statistics(*network);
  for_inference(*network);
  place(*network, options);
  ModelCase made;
  made.inputs = {at::randn({options.batch, 3, kSide, kSide}).to(options.dtype).to(options.device)};
  made.read_bytes = weight_bytes(*network);
  made.flop = whole ? kFlopPerImage * static_cast<double>(options.batch) : 0;
  made.unit = "images";
  made.units_per_call = static_cast<double>(options.batch);
  made.module = make_module<1>(network, {"images"});
  return made;
}

const RegisterModel kResnet({"resnet50", "ResNet-50, pictures of 224 x 224", make_resnet});

}  // namespace
}  // namespace monograph::bench
