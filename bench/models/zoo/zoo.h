// Built-in models by name, each with its inputs: for benchmarks and the command line.
#pragma once

#include <ATen/core/TensorBody.h>
#include <monograph/program.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace monograph::bench {

/// What a model is built with. Zero means the model's own choice.
struct ModelOptions {
  std::int64_t batch = 1;
  std::int64_t length = 0;  ///< tokens of a sequence, or positions in a cache
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
  std::uint64_t seed = 0;  ///< of weights (drawn by LibTorch's CPU generator) and inputs
  /// Cuts the number of layers, for tests; 0 keeps the model's own.
  std::int64_t layers = 0;
};

/// A model ready to be called: eval mode, no gradients, weights and inputs on the device.
struct ModelCase {
  Module module;
  std::vector<at::Tensor> inputs;
  /// Tensors that forward updates, to be declared as Options::mutable_state.
  std::vector<std::string> state;
  std::string unit;  ///< what a call makes: "tokens", "sequences", "images", "rows"
  double units_per_call = 0;
  /// Bytes that a call can't avoid reading: the weights it uses, and its share of the caches.
  double read_bytes = 0;
  double flop = 0;  ///< multiplications and additions of its matrix products
};

/// One line of the list of models.
struct ModelEntry {
  std::string_view name;
  std::string_view description;
  ModelCase (*make)(const ModelOptions& options);
};

/// Registers at static initialisation; a name that is taken ends the process.
struct RegisterModel {
  explicit RegisterModel(const ModelEntry& entry);
};

/// All models, sorted by name.
const std::vector<ModelEntry>& models();
/// Error(kInvalidOption) lists the names.
const ModelEntry& find_model(std::string_view name);

}  // namespace monograph::bench
