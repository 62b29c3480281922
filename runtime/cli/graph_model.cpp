// A graph's text with its weights: what a reproducer is.
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "capture/import/safetensors.h"
#include "capture/import/safetensors_torch.h"
#include "capture/ir/text.h"
#include "capture/passes/pass.h"
#include "capture/trace/constant_evaluator.h"
#include "runtime/cli/inputs.h"
#include "runtime/cli/model.h"
#include "runtime/inspect/reproducer.h"

namespace monograph::cli {
namespace {

namespace fs = std::filesystem;

std::optional<Tensors> read_expected(const fs::path& file) {
  if (!fs::exists(file)) return std::nullopt;
  const auto contents = importer::SafetensorsFile::open(file);
  Tensors tensors;
  while (const auto* entry = contents.find(fmt::format("out_{}", tensors.size()))) {
    tensors.push_back(importer::read_tensor(*entry));
  }
  return tensors;
}

/// A part of a graph may return what no plan can bind, so its outputs are made fit.
Program program_of(const inspect::Subject& subject, const Request& request,
                   const Options& options) {
  inspect::Subject ready = inspect::copy_of(subject);
  trace::TorchConstantEvaluator evaluator(ready.weights, options.fold_limit_bytes);
  passes::PassContext context;
  context.constants = &evaluator;
  auto names = request.passes.empty() ? std::vector<std::string>{"materialize_outputs"}
                                      : pipeline_of(request, options);
  passes::run_passes(ready.graph, names, context);
  std::vector<NamedTensor> weights;
  for (const auto& [name, tensor] : ready.weights) weights.push_back({name, tensor, false});
  return Program::parse(ir::text(ready.graph), std::move(weights), ready.inputs);
}

}  // namespace

Loaded load_graph(const Request& request, const Options& options) {
  const fs::path given = request.model;
  fs::path folder = fs::is_directory(given) ? given : given.parent_path();
  if (folder.empty()) folder = ".";
  const auto subject = std::make_shared<const inspect::Subject>(inspect::read_reproducer(folder));
  Loaded loaded;
  loaded.kind = "graph";
  loaded.options = options;
  loaded.request = request;
  const Program program = program_of(*subject, request, options);
  loaded.specs = program.inputs();
  const bool own_inputs = !request.inputs.empty() || !request.shapes.empty();
  loaded.inputs = own_inputs ? make_inputs(request, loaded.specs, request.seed) : subject->inputs;
  loaded.outcome = program;
  const auto with = [subject](const Tensors& inputs) {
    inspect::Subject other = inspect::copy_of(*subject);
    other.inputs = inputs;
    return other;
  };
  loaded.reference = [with](const Tensors& inputs) { return inspect::results_of(with(inputs)); };
  loaded.subject = [with, inputs = loaded.inputs] { return with(inputs); };
  if (!own_inputs) loaded.expected = read_expected(folder / "expected.safetensors");
  return loaded;
}

}  // namespace monograph::cli
