// Built-in models by name, each with its inputs: for benchmarks and the command line.
#pragma once

#include <ATen/core/TensorBody.h>
#include <monograph/program.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
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
  /// Leaves the weights' memory unwritten, which costs none, where the model can: for looking at
  /// its graph. Running it computes with whatever is there, which is zero.
  bool unwritten = false;
};

/// A model ready to be called: eval mode, no gradients, weights and inputs on the device.
struct ModelCase {
  Module module;
  std::vector<at::Tensor> inputs;
  /// Tensors that forward updates, to be declared as Options::mutable_state.
  std::vector<std::string> state;
  /// Values that integer inputs may take: [low, high) by name.
  std::map<std::string, std::pair<std::int64_t, std::int64_t>> int_ranges;
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
  ModelCase (*make)(const ModelOptions& options) = nullptr;
  /// Bytes of weights and state, for models large enough to be asked before they are made; such a
  /// model knows ModelOptions::unwritten.
  double (*weight_bytes)(const ModelOptions& options) = nullptr;
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
