#include "runtime/cli/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "bench/models/zoo/zoo.h"
#include "capture/import/pt2_archive.h"
#include "capture/passes/pass.h"
#include "capture/trace/interpreter.h"
#include "runtime/cli/inputs.h"

namespace monograph::cli {
namespace {

namespace fs = std::filesystem;

bool built_in(std::string_view name) {
  return std::ranges::any_of(bench::models(), [name](const auto& m) { return m.name == name; });
}

inspect::Subject subject_of(const Program& program, const Tensors& inputs) {
  inspect::Subject subject{program.graph().clone(), {}, inputs};
  for (const NamedTensor& weight : program.weights()) subject.weights[weight.name] = weight.tensor;
  return subject;
}

/// LibTorch on the graph of `program`.
std::function<Tensors(const Tensors&)> interpreted(Program program) {
  return [program = std::move(program)](const Tensors& inputs) {
    const inspect::Subject subject = subject_of(program, inputs);
    return trace::interpret(subject.graph, subject.weights, inputs);
  };
}

Loaded blank(const Request& request, const Options& options, const char* kind) {
  Loaded loaded;
  loaded.kind = kind;
  loaded.options = options;
  loaded.request = request;
  return loaded;
}

/// The program as imported, with nothing but unused nodes taken out.
using Import = std::function<std::variant<Program, Rejection>(const Options&)>;

/// Sets reference and subject to the graph before any pass that changes what is computed.
void refer_to_plain(Loaded& loaded, const Import& import) {
  if (!std::holds_alternative<Program>(loaded.outcome)) return;
  const auto plain = [import, options = loaded.options]() {
    Options unchanged = options;
    unchanged.passes = {"dead_code"};
    return std::get<Program>(import(unchanged));
  };
  loaded.reference = [plain](const Tensors& inputs) { return interpreted(plain())(inputs); };
  loaded.subject = [plain, inputs = loaded.inputs] { return subject_of(plain(), inputs); };
}

Loaded load_pt2(const Request& request, const Options& options, at::Device device) {
  Loaded loaded = blank(request, options, "pt2");
  loaded.specs = Program::pt2_inputs(request.model);
  for (TensorSpec& spec : loaded.specs) spec.device = device;
  loaded.inputs = make_inputs(request, loaded.specs, request.seed);
  loaded.outcome = Program::import_pt2(request.model, loaded.inputs, options);
  refer_to_plain(loaded, [path = request.model, inputs = loaded.inputs](const Options& o) {
    return Program::import_pt2(path, inputs, o);
  });
  return loaded;
}

Loaded load_package(const Request& request, const Options& options) {
  Loaded loaded = blank(request, options, "package");
  const Program program = Program::load(request.model);
  loaded.specs = program.inputs();
  loaded.inputs = make_inputs(request, loaded.specs, request.seed);
  loaded.reference = interpreted(program);
  loaded.subject = [program, inputs = loaded.inputs] { return subject_of(program, inputs); };
  loaded.outcome = program;
  return loaded;
}

/// TorchScript doesn't say what it takes: all inputs come from files or shapes.
Loaded load_torchscript(const Request& request, const Options& options, at::Device device) {
  Loaded loaded = blank(request, options, "torchscript");
  for (std::size_t i = 0; i < std::max(request.shapes.size(), request.inputs.size()); ++i) {
    TensorSpec spec;
    spec.name = fmt::format("in_{}", i);
    spec.device = device;
    spec.dtype = request.int_ranges.contains(spec.name) ? at::kLong : at::kFloat;
    loaded.specs.push_back(std::move(spec));
  }
  loaded.inputs = make_inputs(request, loaded.specs, request.seed);
  const auto trust = request.trust ? Program::Trust::kTrusted : Program::Trust::kUntrusted;
  loaded.outcome = Program::import_torchscript(request.model, loaded.inputs, trust, options);
  refer_to_plain(loaded, [path = request.model, inputs = loaded.inputs](const Options& o) {
    return Program::import_torchscript(path, inputs, Program::Trust::kTrusted, o);
  });
  if (const auto* program = std::get_if<Program>(&loaded.outcome)) loaded.specs = program->inputs();
  return loaded;
}

std::string names() {
  std::string text;
  for (const auto& entry : bench::models()) {
    text += (text.empty() ? "" : ", ") + std::string(entry.name);
  }
  return text;
}

std::vector<std::string> split_names(const std::string& list) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t end = std::min(list.find(',', at), list.size());
    if (end > at) parts.push_back(list.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

bool is_graph_text(const fs::path& path) {
  return fs::is_directory(path) || path.filename() == "graph.txt";
}

}  // namespace

std::vector<std::string> pipeline_of(const Request& request, const Options& options) {
  if (request.passes == "default") return passes::default_pipeline();
  if (request.passes == "fused") return passes::fused_pipeline();
  if (request.passes == "none") return {"dead_code", "materialize_outputs"};
  if (!request.passes.empty()) {
    const auto chosen = split_names(request.passes);
    for (const std::string& name : chosen) (void)passes::find_pass(name);
    return chosen;
  }
  return options.backend == "cuda" ? passes::fused_pipeline() : std::vector<std::string>{};
}

Tensors state_of(const Program& program) {
  std::map<std::string, at::Tensor> by_name;
  for (const NamedTensor& weight : program.weights()) by_name[weight.name] = weight.tensor;
  Tensors state;
  std::map<ir::StorageId, bool> seen;
  for (const auto& node : program.graph().nodes()) {
    if (node->kind() != ir::NodeKind::kGetAttr) continue;
    const ir::Storage& storage = program.graph().storage(node->storage());
    if (storage.kind != ir::StorageKind::kState || seen[storage.id]) continue;
    seen[storage.id] = true;
    state.push_back(by_name.at(node->target()));
  }
  return state;
}

Loaded load_model(const Request& request, const bench::Device& device) {
  Options options = device.options();
  options.graph_mode = request.graph_mode == "stream" ? GraphMode::kNone : GraphMode::kFull;
  options.mutable_state.assign(request.state.begin(), request.state.end());
  options.op_namespaces.insert(options.op_namespaces.end(), request.op_namespaces.begin(),
                               request.op_namespaces.end());
  options.passes = pipeline_of(request, options);
  const at::Device place = device.backend == "cuda" && !device.emulated ? at::Device(at::kCUDA, 0)
                                                                        : at::Device(at::kCPU);
  if (built_in(request.model)) return load_built_in(request, options, place);
  if (!fs::exists(request.model)) {
    throw UnknownModel("'" + request.model +
                       "' is neither a file nor a built-in model; there are " + names());
  }
  options.name = fs::path(request.model).stem().string();
  if (is_graph_text(request.model)) return load_graph(request, options);
  if (!importer::looks_like_zip(request.model)) return load_package(request, options);
  return request.trust ? load_torchscript(request, options, place)
                       : load_pt2(request, options, place);
}

}  // namespace monograph::cli
