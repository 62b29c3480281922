#include "bench/models/mlp.h"

#include <ATen/ops/randn.h>

#include "bench/models/zoo/build.h"

namespace monograph::bench {
namespace {

ModelCase make_mlp(const ModelOptions& options) {
  constexpr std::int64_t kWidth = 512;
  const std::int64_t depth = options.layers > 0 ? options.layers : 8;
  seed_drawing(options.seed);
  Mlp mlp(depth, kWidth);
  place(*mlp, options);
  ModelCase made;
  made.inputs = {at::randn({options.batch, kWidth}).to(options.dtype).to(options.device)};
  made.read_bytes = weight_bytes(*mlp);
  made.flop = 2.0 * static_cast<double>(options.batch * depth * kWidth * kWidth);
  made.unit = "rows";
  made.units_per_call = static_cast<double>(options.batch);
  made.module = make_module<1>(mlp, {"x"});
  return made;
}

const RegisterModel kMlp({"mlp", "8 layers of Linear(512, 512) and ReLU", make_mlp});

}  // namespace
}  // namespace monograph::bench
