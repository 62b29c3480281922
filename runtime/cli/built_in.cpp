// Built-in models, with weights drawn or left unwritten.
#include <ATen/ops/empty_strided.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <fstream>
#include <map>

#include "bench/models/zoo/zoo.h"
#include "capture/ir/text.h"
#include "capture/passes/pass.h"
#include "capture/trace/constant_evaluator.h"
#include "capture/trace/convert.h"
#include "runtime/base/progress.h"
#include "runtime/cli/inputs.h"
#include "runtime/cli/model.h"

namespace monograph::cli {
namespace {

at::ScalarType dtype_of(const std::string& name) {
  return name == "bf16" ? at::kBFloat16 : name == "f16" ? at::kHalf : at::kFloat;
}

/// Bytes that this machine can still give away; 0 if it doesn't say.
double available_memory() {
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);) {
    constexpr double kKiB = 1024;
    if (line.starts_with("MemAvailable:")) return kKiB * std::stod(line.substr(13));
  }
  return 0;
}

/// Weights that are written must fit, with some room for everything else.
void check_memory(const bench::ModelEntry& entry, const bench::ModelOptions& how) {
  constexpr double kRoom = 1.1;
  if (entry.weight_bytes == nullptr || !how.device.is_cpu()) return;
  const double wanted = kRoom * entry.weight_bytes(how);
  const double there = available_memory();
  if (there == 0 || wanted <= there) return;
  throw UnknownModel(fmt::format(
      "{} in {} takes {} of memory, {} are free here: use --dtype bf16 or --layers N; 'inspect' "
      "needs no memory for weights",
      entry.name, c10::toString(how.dtype), base::spell_bytes(wanted), base::spell_bytes(there)));
}

/// Packs weights without computing them: memory that nobody writes stands for the result.
class UnwrittenPacks final : public passes::ConstantEvaluator {
 public:
  UnwrittenPacks(std::map<std::string, at::Tensor>& weights, std::int64_t limit)
      : weights_(weights), computed_(weights, limit) {}

  std::optional<std::vector<passes::FoldedConstant>> evaluate(const ir::Node& node) override {
    return computed_.evaluate(node);
  }
  std::optional<std::vector<passes::FoldedConstant>> evaluate_packed(
      const ir::Node& node) override {
    const ir::TensorType& type = node.type();
    const auto dtype = trace::scalar_type_of(type.dtype);
    const std::string name = fmt::format("_packed_{}", made_++);
    const at::Tensor memory =
        at::empty_strided(type.sizes, type.strides, at::TensorOptions().dtype(dtype));
    weights_[name] = memory;
    return std::vector<passes::FoldedConstant>{
        {name, type, static_cast<std::int64_t>(memory.nbytes())}};
  }
  void discard(const std::string& attr) override { computed_.discard(attr); }

 private:
  std::map<std::string, at::Tensor>& weights_;
  trace::TorchConstantEvaluator computed_;
  int made_ = 0;
};

/// Traced once, then optimised with packs that nobody computes.
std::variant<Program, Rejection> outline(const bench::ModelCase& made, const Options& options) {
  Options plain = options;
  plain.passes = {"dead_code"};
  plain.check_twice = false;  // the weights are all zero: no other data would tell anything
  auto traced = Program::trace(made.module, made.inputs, plain);
  const auto* program = std::get_if<Program>(&traced);
  if (program == nullptr) return traced;
  std::map<std::string, at::Tensor> weights;
  for (const NamedTensor& weight : program->weights()) weights[weight.name] = weight.tensor;
  ir::Graph graph = program->graph().clone();
  UnwrittenPacks packs(weights, options.fold_limit_bytes);
  passes::PassContext context;
  context.constants = &packs;
  const auto& names = options.passes.empty() ? passes::default_pipeline() : options.passes;
  passes::run_passes(graph, names, context);
  std::vector<NamedTensor> named;
  for (auto& [name, tensor] : weights) named.push_back({name, tensor, false});
  return Program::parse(ir::text(graph), std::move(named), made.inputs);
}

}  // namespace

Loaded load_built_in(const Request& request, const Options& options, at::Device device) {
  const bench::ModelEntry& entry = bench::find_model(request.model);
  bench::ModelOptions how;
  how.batch = request.batch;
  how.length = request.length;
  how.layers = request.layers;
  how.seed = request.seed;
  how.dtype = dtype_of(request.dtype);
  how.device = device;
  how.unwritten = request.structure_only && entry.weight_bytes != nullptr && device.is_cpu();
  if (!how.unwritten) check_memory(entry, how);
  bench::ModelCase made = entry.make(how);
  Loaded loaded;
  loaded.kind = "built-in";
  loaded.options = options;
  loaded.options.name = request.model;
  for (const std::string& name : made.state) loaded.options.mutable_state.emplace_back(name);
  loaded.outcome = how.unwritten ? outline(made, loaded.options)
                                 : Program::trace(made.module, made.inputs, loaded.options);
  if (const auto* program = std::get_if<Program>(&loaded.outcome)) loaded.specs = program->inputs();
  loaded.request = request;
  loaded.request.shapes.clear();
  for (const auto& [name, range] : made.int_ranges) loaded.request.int_ranges.emplace(name, range);
  loaded.inputs = made.inputs;
  if (!request.inputs.empty()) {
    loaded.inputs = make_inputs(loaded.request, loaded.specs, request.seed);
  }
  loaded.module = made.module;
  loaded.reference = [module = made.module](const Tensors& inputs) {
    const c10::InferenceMode inference;
    return module.forward(inputs);
  };
  return loaded;
}

}  // namespace monograph::cli
