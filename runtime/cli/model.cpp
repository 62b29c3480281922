#include "runtime/cli/model.h"

#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>

#include "bench/models/zoo/zoo.h"
#include "capture/import/pt2_archive.h"
#include "capture/trace/interpreter.h"
#include "runtime/cli/inputs.h"

namespace monograph::cli {
namespace {

namespace fs = std::filesystem;

/// Models that the command promises.
constexpr std::array<std::string_view, 8> kPromised{"bert-base", "llama-3.1-8b", "llama-3.2-1b",
                                                    "minilm",    "mlp",          "qwen3-0.6b",
                                                    "resnet50",  "vit-b16"};

bool built_in(std::string_view name) {
  return std::ranges::any_of(bench::models(), [name](const auto& m) { return m.name == name; });
}

/// LibTorch on the graph as imported, before any pass that changes what is computed.
std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)> interpreted(
    Program program) {
  return [program = std::move(program)](const std::vector<at::Tensor>& inputs) {
    std::map<std::string, at::Tensor> weights;
    for (const NamedTensor& weight : program.weights()) weights[weight.name] = weight.tensor;
    return trace::interpret(program.graph(), weights, inputs);
  };
}

at::Device tensor_device(const Request& request, const Options& options) {
  const bool gpu = request.device != "virtual" && options.backend == "cuda";
  return gpu ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
}

Loaded load_pt2(const Request& request, const Options& options) {
  Loaded loaded;
  loaded.kind = "pt2";
  loaded.options = options;
  loaded.specs = Program::pt2_inputs(request.model);
  for (TensorSpec& spec : loaded.specs) spec.device = tensor_device(request, options);
  loaded.inputs = make_inputs(request, loaded.specs, request.seed);
  loaded.outcome = Program::import_pt2(request.model, loaded.inputs, options);
  loaded.reference = [path = request.model, options,
                      like = loaded.inputs](const std::vector<at::Tensor>& inputs) {
    Options plain = options;
    plain.passes = {"dead_code"};
    auto outcome = Program::import_pt2(path, like, plain);
    return interpreted(std::get<Program>(std::move(outcome)))(inputs);
  };
  return loaded;
}

Loaded load_package(const Request& request, const Options& options) {
  Loaded loaded;
  loaded.kind = "package";
  loaded.options = options;
  const Program program = Program::load(request.model);
  loaded.specs = program.inputs();
  loaded.inputs = make_inputs(request, loaded.specs, request.seed);
  loaded.reference = interpreted(program);
  loaded.outcome = program;
  return loaded;
}

/// TorchScript doesn't say what it takes: all inputs come from files or shapes.
Loaded load_torchscript(const Request& request, const Options& options) {
  Loaded loaded;
  loaded.kind = "torchscript";
  loaded.options = options;
  for (std::size_t i = 0; i < std::max(request.shapes.size(), request.inputs.size()); ++i) {
    TensorSpec spec;
    spec.name = fmt::format("in_{}", i);
    spec.device = tensor_device(request, options);
    const bool integers = request.int_ranges.contains(spec.name);
    spec.dtype = integers ? at::kLong : at::kFloat;
    loaded.specs.push_back(std::move(spec));
  }
  loaded.inputs = make_inputs(request, loaded.specs, request.seed);
  loaded.outcome = Program::import_torchscript(
      request.model, loaded.inputs,
      request.trust ? Program::Trust::kTrusted : Program::Trust::kUntrusted, options);
  if (const auto* program = std::get_if<Program>(&loaded.outcome)) {
    Options plain = options;
    plain.passes = {"dead_code"};
    auto again =
        Program::import_torchscript(request.model, loaded.inputs, Program::Trust::kTrusted, plain);
    loaded.reference = interpreted(std::get<Program>(std::move(again)));
    loaded.specs = program->inputs();
  }
  return loaded;
}

Loaded load_built_in(const Request& request, const Options& options) {
  bench::ModelOptions how;
  how.batch = request.batch;
  how.length = request.length;
  how.layers = request.layers;
  how.seed = request.seed;
  how.device = tensor_device(request, options);
  bench::ModelCase made = bench::find_model(request.model).make(how);
  Loaded loaded;
  loaded.kind = "built-in";
  loaded.options = options;
  loaded.options.name = request.model;
  loaded.outcome = Program::trace(made.module, made.inputs, loaded.options);
  if (const auto* program = std::get_if<Program>(&loaded.outcome)) loaded.specs = program->inputs();
  Request read = request;
  read.shapes.clear();
  loaded.inputs = made.inputs;
  if (!request.inputs.empty()) loaded.inputs = make_inputs(read, loaded.specs, request.seed);
  loaded.reference = [forward = made.module.forward,
                      owner = made.module.owner](const std::vector<at::Tensor>& inputs) {
    const c10::InferenceMode inference;
    return forward(inputs);
  };
  return loaded;
}

std::string names() {
  std::string text;
  for (const auto& entry : bench::models()) {
    text += (text.empty() ? "" : ", ") + std::string(entry.name);
  }
  return text;
}

}  // namespace

void list_models() {
  for (const auto& entry : bench::models()) {
    fmt::print("{:<14} {}\n", entry.name, entry.description);
  }
  for (const std::string_view name : kPromised) {
    if (!built_in(name)) fmt::print("{:<14} not there yet\n", name);
  }
}

Loaded load_model(const Request& request, const Options& options) {
  if (built_in(request.model)) return load_built_in(request, options);
  if (std::ranges::find(kPromised, request.model) != kPromised.end()) {
    throw UnknownModel("model '" + request.model + "' isn't there yet; there are " + names());
  }
  if (!fs::exists(request.model)) {
    throw UnknownModel("'" + request.model +
                       "' is neither a file nor a built-in model; there are " + names());
  }
  if (!importer::looks_like_zip(request.model)) return load_package(request, options);
  return request.trust ? load_torchscript(request, options) : load_pt2(request, options);
}

}  // namespace monograph::cli
