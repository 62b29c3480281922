// What the built-in models share: putting a torch::nn module on a device, counting its weights.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <monograph/compiled_module.h>
#include <torch/nn/module.h>

#include <string>
#include <utility>
#include <vector>

#include "bench/models/zoo/zoo.h"

namespace monograph::bench {

/// Draws what follows from `seed`.
inline void seed_drawing(std::uint64_t seed) {
  auto generator = at::detail::getDefaultCPUGenerator();
  generator.set_current_seed(seed);
}

/// Eval mode, no gradients, in place.
inline void for_inference(torch::nn::Module& module) {
  module.eval();
  for (auto& parameter : module.parameters()) parameter.requires_grad_(false);
}

/// Puts the module on the options' device, floating-point tensors in their dtype. (Module::to would
/// convert integer buffers as well.)
void place(torch::nn::Module& module, const ModelOptions& options);

/// Bytes of parameters, each memory once.
double weight_bytes(const torch::nn::Module& module);

}  // namespace monograph::bench
