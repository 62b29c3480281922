#include "bench/models/vit.h"

#include <ATen/ops/randn.h>

#include "bench/models/zoo/build.h"

namespace monograph::bench {
namespace {

ModelCase make_vit(const ModelOptions& options) {
  VitConfig config;
  if (options.layers > 0) config.num_hidden_layers = options.layers;
  seed_drawing(options.seed);
  Vit vit(config);
  for_inference(*vit);
  place(*vit, options);
  ModelCase made;
  made.inputs = {at::randn({options.batch, 3, config.image_size, config.image_size})
                     .to(options.dtype)
                     .to(options.device)};
  const auto tokens = vit->positions.size(1);
  const auto layer = 4 * config.hidden_size * config.hidden_size +
                     2 * config.hidden_size * config.intermediate_size +
                     2 * tokens * config.hidden_size;
  made.flop = 2.0 * static_cast<double>(options.batch * tokens) *
              static_cast<double>(config.num_hidden_layers * layer);
  made.read_bytes = weight_bytes(*vit);
  made.unit = "images";
  made.units_per_call = static_cast<double>(options.batch);
  made.module = make_module<1>(vit, {"images"});
  return made;
}

const RegisterModel kVit({"vit-b16", "ViT-B/16, pictures of 224 x 224", make_vit});

}  // namespace
}  // namespace monograph::bench
