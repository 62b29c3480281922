// Program::import_pt2: from an archive to a module whose forward runs the archive's graph, which is
// then traced like any other. So aliases, writes, constants and composite operators come out as
// they do for a module written in C++, and the same things are refused.
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>
#include <monograph/program.h>

#include <algorithm>
#include <map>
#include <memory>

#include "capture/import/pt2_archive.h"
#include "capture/import/pt2_check.h"
#include "capture/import/pt2_graph.h"
#include "capture/import/pt2_runner.h"
#include "capture/import/pytree.h"
#include "capture/import/safetensors_header.h"
#include "capture/trace/convert.h"
#include "capture/trace/mapped_weights.h"

namespace monograph {
namespace {

using importer::Pt2Archive;
using importer::Pt2Dimension;
using importer::Pt2InputSpec;
using importer::Pt2Model;
using importer::Pt2Tensor;

bool is_weight(const Pt2InputSpec& spec) {
  return spec.kind != Pt2InputSpec::Kind::kUser && spec.kind != Pt2InputSpec::Kind::kConstant;
}

/// Specs of the inputs that are tensors of the caller, in order.
std::vector<const Pt2InputSpec*> tensor_inputs(const Pt2Model& model) {
  std::vector<const Pt2InputSpec*> specs;
  for (const Pt2InputSpec& spec : model.input_specs) {
    if (!is_weight(spec) && model.graph.tensors.contains(spec.name)) specs.push_back(&spec);
  }
  return specs;
}

/// Makes the archive's tensors: one LibTorch storage for each record, shared by all that lie in it.
class WeightReader {
 public:
  WeightReader(const Pt2Archive& archive, const at::Device& device)
      : archive_(archive), device_(device) {}

  at::Tensor read(const Pt2Tensor& tensor) {
    const auto [it, fresh] = records_.try_emplace(tensor.record);
    if (fresh) it->second = record(tensor);
    const auto options =
        at::TensorOptions().device(device_).dtype(trace::scalar_type_of(tensor.type.dtype));
    at::Tensor result = at::empty({0}, options);
    result.set_(it->second.storage(), tensor.type.offset, tensor.type.sizes, tensor.type.strides);
    return result;
  }

 private:
  /// All bytes of the record, in place unless they aren't aligned as LibTorch's kernels expect.
  at::Tensor record(const Pt2Tensor& tensor) const {
    constexpr std::uintptr_t kAlignment = 16;
    const auto* data = tensor.data.data();
    // Nothing writes these bytes; if something did, it would get a page of its own.
    auto* bytes = const_cast<std::byte*>(data);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
    const auto size = static_cast<std::int64_t>(tensor.data.size());
    const auto file = archive_.file;
    const at::Tensor mapped = at::from_blob(
        bytes, {size}, [file](void*) {}, at::TensorOptions().dtype(at::kByte));
    if (!device_.is_cpu()) return mapped.to(device_);
    const bool aligned = reinterpret_cast<std::uintptr_t>(data) % kAlignment == 0;
    return aligned ? mapped : mapped.clone();
  }

  const Pt2Archive& archive_;
  at::Device device_;
  std::map<std::string, at::Tensor> records_;
};

std::string shape_of(const importer::Pt2TensorMeta& meta) {
  std::string text(ir::dtype_name(meta.dtype));
  text += '[';
  for (std::size_t i = 0; i < meta.sizes.size(); ++i) {
    const Pt2Dimension& d = meta.sizes[i];
    text += i == 0 ? "" : ",";
    text += d.size ? fmt::format("{}", *d.size) : d.symbol.empty() ? "?" : d.symbol;
  }
  return text + "]";
}

/// Checks one input and learns the sizes of symbols from it.
void check_input(const std::string& name, const importer::Pt2TensorMeta& meta,
                 const at::Tensor& tensor, const Pt2Model& model,
                 std::map<std::string, std::int64_t>& symbols) {
  const auto refuse = [&](const std::string& why) {
    throw Error(Code::kInvalidArgument, fmt::format("input '{}': expected {}, got {}{}", name,
                                                    shape_of(meta), trace::describe(tensor), why));
  };
  if (!tensor.defined() || trace::dtype_of(tensor.scalar_type()) != meta.dtype ||
      tensor.dim() != static_cast<std::int64_t>(meta.sizes.size())) {
    refuse("");
  }
  for (std::size_t i = 0; i < meta.sizes.size(); ++i) {
    const Pt2Dimension& d = meta.sizes[i];
    const std::int64_t size = tensor.size(static_cast<std::int64_t>(i));
    if (d.size && *d.size != size) refuse("");
    if (d.size || d.symbol.empty()) continue;
    const auto [known, fresh] = symbols.try_emplace(d.symbol, size);
    if (!fresh && known->second != size) {
      refuse(fmt::format(": {} is {} elsewhere", d.symbol, known->second));
    }
    const auto range = model.ranges.find(d.symbol);
    if (range == model.ranges.end()) continue;
    const auto& [least, greatest] = range->second;
    if ((least && size < *least) || (greatest && size > *greatest)) {
      refuse(fmt::format(": {} must lie in [{}, {}]", d.symbol, least.value_or(0),
                         greatest ? fmt::format("{}", *greatest) : "any"));
    }
  }
}

at::Device check_inputs(const Pt2Model& model, const std::vector<at::Tensor>& inputs) {
  const auto specs = tensor_inputs(model);
  if (inputs.size() != specs.size()) {
    std::string names;
    for (const Pt2InputSpec* spec : specs) names += (names.empty() ? "" : ", ") + spec->name;
    throw Error(Code::kInvalidArgument, fmt::format("the archive takes {} tensors ({}), got {}",
                                                    specs.size(), names, inputs.size()));
  }
  std::map<std::string, std::int64_t> symbols;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    check_input(specs[i]->name, model.graph.tensors.at(specs[i]->name), inputs[i], model, symbols);
  }
  return inputs.empty() ? at::Device(at::kCPU) : inputs.front().device();
}

/// Leaves of the argument tree that are tensors: those of the others are constants.
void name_inputs(const Pt2Model& model, const std::string& where, Module& module) {
  std::vector<std::string> leaves;
  if (!model.in_spec.empty()) leaves = importer::pytree_leaves(model.in_spec, where);
  std::size_t leaf = 0;
  for (const Pt2InputSpec& spec : model.input_specs) {
    if (is_weight(spec)) continue;
    const std::string path = leaf < leaves.size() ? leaves[leaf] : "";
    ++leaf;
    if (!model.graph.tensors.contains(spec.name)) continue;
    module.input_names.push_back(spec.name);
    module.input_paths.push_back(path);
  }
  if (!leaves.empty() && leaf != leaves.size()) {
    throw Error(Code::kInvalidFile, fmt::format("{}: in_spec has {} leaves, the signature {} "
                                                "user inputs",
                                                where, leaves.size(), leaf));
  }
}

/// Where each output of the graph stands in the result; empty where the archive doesn't say.
std::vector<std::string> output_paths(const Pt2Model& model, const std::string& where) {
  using Kind = importer::Pt2OutputSpec::Kind;
  std::vector<std::string> leaves;
  if (!model.out_spec.empty()) leaves = importer::pytree_leaves(model.out_spec, where);
  std::vector<std::string> paths;
  std::size_t leaf = 0;
  for (const importer::Pt2OutputSpec& spec : model.output_specs) {
    const bool user = spec.kind == Kind::kUser;
    paths.push_back(user && leaf < leaves.size() ? leaves[leaf] : "");
    leaf += user ? 1 : 0;
    if (spec.kind == Kind::kOther) {
      throw Error(Code::kInvalidFile, where + ": an output of kind " +
                                          importer::in_quotes(spec.target) +
                                          ": only graphs for inference are read");
    }
  }
  if (!leaves.empty() && leaves.size() != leaf) {
    throw Error(Code::kInvalidFile, fmt::format("{}: out_spec has {} leaves, the signature {} user "
                                                "outputs",
                                                where, leaves.size(), leaf));
  }
  return paths;
}

/// Everything about a module but its forward.
Module describe(const Pt2Archive& archive, const Pt2Model& model, const at::Device& device) {
  Module module;
  const std::string where = archive.path + ": " + archive.model_entry;
  name_inputs(model, where, module);
  WeightReader reader(archive, device);
  for (const Pt2InputSpec& spec : model.input_specs) {
    if (!is_weight(spec)) continue;
    NamedTensor weight{spec.target, reader.read(archive.tensors.at(spec.target)),
                       spec.kind == Pt2InputSpec::Kind::kBuffer,
                       spec.kind == Pt2InputSpec::Kind::kTensorConstant};
    module.tensors.push_back(std::move(weight));
  }
  return module;
}

/// Weights that outputs of the graph are new values of, by the output's place.
std::map<std::size_t, at::Tensor> weight_updates(const Pt2Model& model, const Module& module,
                                                 const std::string& where) {
  std::map<std::size_t, at::Tensor> updates;
  for (std::size_t place = 0; place < model.output_specs.size(); ++place) {
    if (!importer::updates_weight(model.output_specs[place])) continue;
    const std::string& name = model.output_specs[place].target;
    const auto weight = std::ranges::find(module.tensors, name, &NamedTensor::name);
    if (weight == module.tensors.end()) {
      throw Error(Code::kInvalidFile, where + ": the signature writes " +
                                          importer::in_quotes(name) +
                                          ", which is no weight of the archive");
    }
    updates[place] = weight->tensor;
  }
  return updates;
}

void update(const at::Tensor& weight, const at::Tensor& value, const std::string& where) {
  if (value.sizes() != weight.sizes() || value.scalar_type() != weight.scalar_type()) {
    throw Error(Code::kInvalidFile,
                fmt::format("{}: the signature gives a weight of {} a value of {}", where,
                            trace::describe(weight), trace::describe(value)));
  }
  weight.copy_(value);
}

}  // namespace

std::variant<Program, Rejection> Program::import_pt2(const std::filesystem::path& path,
                                                     const std::vector<at::Tensor>& inputs,
                                                     const Options& options) {
  const Pt2Archive archive = importer::open_pt2(path);
  const Pt2Model model = importer::read_pt2_model(archive);
  const at::Device device = check_inputs(model, inputs);
  Module module = describe(archive, model, device);
  if (auto rejection = importer::refuse_model(model, options)) {
    return std::move(*rejection);
  }
  std::vector<at::Tensor> weights;
  for (const NamedTensor& weight : module.tensors) weights.push_back(weight.tensor);
  const std::string where = archive.path + ": " + archive.model_entry;
  const auto paths = output_paths(model, where);
  const auto updates = weight_updates(model, module, where);
  module.forward = [&](const std::vector<at::Tensor>& tensors) {
    const importer::Pt2Results results = importer::run_pt2(model, weights, tensors, device);
    module.output_paths.clear();  // known only now: which outputs are tensors
    std::vector<at::Tensor> returned;
    for (std::size_t i = 0; i < results.places.size(); ++i) {
      const std::size_t place = results.places[i];
      if (const auto written = updates.find(place); written != updates.end()) {
        update(written->second, results.tensors[i], where);
        continue;
      }
      module.output_paths.push_back(paths[place]);
      returned.push_back(results.tensors[i]);
    }
    return returned;
  };
  // The graph is the same whatever the data: a second run could show nothing new.
  Options once = options;
  once.check_twice = false;
  const trace::MappedWeights mapped(*archive.file);
  return trace(module, inputs, once);
}

std::vector<TensorSpec> Program::pt2_inputs(const std::filesystem::path& path) {
  const Pt2Archive archive = importer::open_pt2(path);
  const Pt2Model model = importer::read_pt2_model(archive);
  Module module;
  name_inputs(model, archive.path + ": " + archive.model_entry, module);
  std::vector<TensorSpec> specs;
  for (std::size_t i = 0; i < module.input_names.size(); ++i) {
    const importer::Pt2TensorMeta& meta = model.graph.tensors.at(module.input_names[i]);
    TensorSpec spec;
    spec.name = module.input_names[i];
    spec.path = module.input_paths[i];
    spec.dtype = trace::scalar_type_of(meta.dtype);
    constexpr std::int64_t kUnknownSize = 2;
    for (const Pt2Dimension& d : meta.sizes) {
      spec.sizes.push_back(d.size ? *d.size : d.hint.value_or(kUnknownSize));
    }
    spec.strides = ir::contiguous_strides(spec.sizes);
    specs.push_back(std::move(spec));
  }
  return specs;
}

}  // namespace monograph
