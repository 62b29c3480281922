// Program::save and load: a program in one safetensors file. Graph text and signature are strings
// of its metadata, so that weights can be read by whatever reads safetensors.
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>
#include <monograph/program.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "capture/import/json.h"
#include "capture/import/mapped_file.h"
#include "capture/import/safetensors.h"
#include "capture/import/safetensors_header.h"
#include "capture/ir/text.h"
#include "capture/ir/verify.h"
#include "capture/trace/convert.h"
#include "capture/trace/program_impl.h"

namespace monograph {
namespace {

constexpr const char* kFormat = "monograph-package";
constexpr const char* kVersion = "1";

/// get_attr nodes that read one storage, one for each target, sorted by target.
struct Group {
  std::map<std::string, const ir::Node*> nodes;
  std::int64_t extent = 0;  ///< bytes up to the last element that any of them reaches

  const std::string& name() const { return nodes.begin()->first; }
  const ir::Node& first() const { return *nodes.begin()->second; }
  /// True if the file shows the tensor as it is; otherwise it holds the bytes of the storage.
  bool plain() const {
    const ir::TensorType& type = first().type();
    return nodes.size() == 1 && type.is_contiguous() &&
           !importer::safetensors_dtype_name(type.dtype).empty();
  }
};

/// Groups in order of name. Subgraphs have storages of their own.
std::vector<Group> groups_of(const ir::Graph& graph) {
  std::map<std::pair<const ir::Graph*, ir::StorageId>, Group> groups;
  std::map<std::string, bool> seen;
  const auto collect = [&](const auto& self, const ir::Graph& body) -> void {
    for (const auto& node : body.nodes()) {
      if (node->kind() != ir::NodeKind::kGetAttr || !seen.try_emplace(node->target()).second) {
        continue;
      }
      Group& group = groups[{&body, node->storage()}];
      group.nodes.emplace(node->target(), node.get());
      group.extent = std::max(group.extent, node->type().storage_extent());
    }
    for (const auto& [name, inner] : body.subgraphs()) self(self, *inner);
  };
  collect(collect, graph);
  std::vector<Group> sorted;
  for (auto& [key, group] : groups) sorted.push_back(std::move(group));
  std::ranges::sort(sorted, {}, [](const Group& g) { return g.name(); });
  return sorted;
}

const at::Tensor& weight_named(const std::vector<NamedTensor>& weights, const std::string& name) {
  const auto it = std::ranges::lower_bound(weights, name, {}, &NamedTensor::name);
  if (it == weights.end() || it->name != name) {
    throw Error(Code::kInternal, "the program has no weight '" + name + "'");
  }
  return it->tensor;
}

/// The bytes of the storage that `tensor` views, from where the graph's storage begins.
at::Tensor storage_bytes(const at::Tensor& tensor, const ir::TensorType& type,
                         std::int64_t extent) {
  const auto begin =
      (tensor.storage_offset() - type.offset) * static_cast<std::int64_t>(tensor.itemsize());
  at::Tensor bytes = at::empty({0}, tensor.options().dtype(at::kByte));
  bytes.set_(tensor.storage(), begin, {extent}, {1});
  return bytes;
}

/// Examples beyond this many elements aren't written: they would be most of a small package.
constexpr std::int64_t kMostExampleElements = 4096;

nlohmann::json example_as_json(const at::Tensor& example) {
  const at::Tensor wide = example.to(at::kLong);
  const auto* first = wide.const_data_ptr<std::int64_t>();
  return std::vector<std::int64_t>(first, first + wide.numel());
}

at::Tensor read_example(const importer::JsonValue& stated, const ir::TensorType& type,
                        const TensorSpec& spec) {
  const std::int64_t extent = type.storage_extent() / ir::itemsize(type.dtype) - type.offset;
  const bool fits = at::isIntegralType(spec.dtype, /*includeBool=*/false) &&
                    stated.size() == static_cast<std::size_t>(extent);
  if (!fits) stated.fail("doesn't fit the input's type " + spec.to_string());
  at::Tensor wide = at::empty({extent}, at::kLong);
  auto* to = wide.mutable_data_ptr<std::int64_t>();
  for (std::size_t i = 0; i < stated.size(); ++i) to[i] = stated[i].integer();
  return wide.to(spec.dtype);
}

void read_examples(const importer::JsonValue& stated, Program::Impl& impl) {
  const std::vector<ir::Node*> nodes = impl.graph.placeholders();
  impl.examples.resize(impl.inputs.size());
  for (std::size_t i = 0; i < impl.inputs.size(); ++i) {
    if (!stated[i].has("example")) continue;
    impl.examples[i] = read_example(stated[i].at("example"), nodes[i]->type(), impl.inputs[i]);
  }
}

nlohmann::json signature_of(const Program& program) {
  const auto list = [](const std::vector<TensorSpec>& specs) {
    nlohmann::json out = nlohmann::json::array();
    for (const TensorSpec& spec : specs) {
      out.push_back({{"name", spec.name}, {"type", spec.to_string()}, {"path", spec.path}});
    }
    return out;
  };
  nlohmann::json inputs = list(program.inputs());
  const std::vector<at::Tensor>& examples = program.impl().examples;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    if (!examples[i].defined() || examples[i].numel() > kMostExampleElements) continue;
    inputs[i]["example"] = example_as_json(examples[i]);
  }
  return {{"inputs", inputs}, {"outputs", list(program.outputs())}};
}

void apply_signature(const importer::JsonValue& stated, std::vector<TensorSpec>& specs) {
  if (stated.size() != specs.size()) {
    stated.fail(fmt::format("{} tensors, the graph has {}", stated.size(), specs.size()));
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const auto check = [&](const char* field, const std::string& known) {
      if (stated[i].at(field).string() != known) {
        stated[i].at(field).fail("the graph says " + importer::in_quotes(known));
      }
    };
    check("name", specs[i].name);
    check("type", specs[i].to_string());
    specs[i].path = stated[i].at("path").string();
  }
}

const std::string& metadata(const importer::SafetensorsFile& file, const char* key) {
  const auto it = file.metadata().find(key);
  if (it == file.metadata().end()) {
    importer::fail_file(file.path().string(),
                        fmt::format("is no package: metadata \"{}\" is missing", key));
  }
  return it->second;
}

void check_version(const importer::SafetensorsFile& file) {
  const std::string path = file.path().string();
  if (const auto& format = metadata(file, "format"); format != kFormat) {
    importer::fail_file(path, "\"format\" is " + importer::in_quotes(format) + ", expected " +
                                  importer::in_quotes(kFormat));
  }
  if (const auto& version = metadata(file, "version"); version != kVersion) {
    importer::fail_file(path, "\"version\" is " + importer::in_quotes(version) +
                                  ", the newest one known is " + importer::in_quotes(kVersion));
  }
}

/// A tensor over the entry's bytes in the mapped file, which it keeps alive.
at::Tensor bytes_in_place(const importer::SafetensorsFile& file,
                          const importer::SafetensorsEntry& entry) {
  // Only state is written, and that is copied first.
  auto* data = const_cast<std::byte*>(entry.data.data());  // NOLINT(*-const-cast)
  return at::from_blob(
      data, {static_cast<std::int64_t>(entry.data.size())}, [file](void*) {},
      at::TensorOptions().dtype(at::kByte));
}

void check_entry(const importer::SafetensorsFile& file, const importer::SafetensorsEntry& entry,
                 const Group& group) {
  const ir::TensorType& type = group.first().type();
  const bool fits = group.plain() ? entry.dtype == type.dtype && entry.shape == type.sizes
                                  : entry.dtype == ir::DType::kU8 &&
                                        entry.shape == std::vector<std::int64_t>{group.extent};
  if (fits) return;
  importer::fail_file(
      file.path().string(),
      fmt::format("tensor {}: type or shape differ from the graph's, which wants {}",
                  importer::in_quotes(entry.name),
                  group.plain() ? ir::text(type) : fmt::format("u8[{}]", group.extent)));
}

void read_group(const importer::SafetensorsFile& file, const Group& group,
                std::map<std::string, at::Tensor>& weights) {
  const importer::SafetensorsEntry& entry = file.at(group.name());
  check_entry(file, entry, group);
  const ir::Node& first = group.first();
  const bool state = first.graph().storage(first.storage()).kind == ir::StorageKind::kState;
  at::Tensor bytes = bytes_in_place(file, entry);
  const at::Device device = trace::torch_device(first.type().device);
  if (!device.is_cpu()) {
    bytes = bytes.to(device);
  } else if (state) {
    bytes = bytes.clone();
  }
  for (const auto& [target, node] : group.nodes) {
    const ir::TensorType& type = node->type();
    at::Tensor tensor = at::empty({0}, bytes.options().dtype(trace::scalar_type_of(type.dtype)));
    tensor.set_(bytes.storage(), group.plain() ? 0 : type.offset, type.sizes, type.strides);
    weights.emplace(target, std::move(tensor));
  }
}

void check_no_more(const importer::SafetensorsFile& file, const std::vector<Group>& groups) {
  for (const importer::SafetensorsEntry& entry : file.entries()) {
    const auto it =
        std::ranges::lower_bound(groups, entry.name, {}, [](const Group& g) { return g.name(); });
    if (it != groups.end() && it->name() == entry.name) continue;
    importer::fail_file(file.path().string(), "tensor " + importer::in_quotes(entry.name) +
                                                  " isn't one that the graph reads");
  }
}

}  // namespace

void Program::save(const std::filesystem::path& path) const {
  std::vector<at::Tensor> held;  // what the entries point into
  std::vector<importer::SafetensorsEntry> entries;
  for (const Group& group : groups_of(graph())) {
    const at::Tensor& tensor = weight_named(weights(), group.name());
    const ir::TensorType& type = group.first().type();
    const bool plain = group.plain();
    held.push_back(plain ? tensor.cpu().contiguous()
                         : storage_bytes(tensor, type, group.extent).cpu());
    const at::Tensor& bytes = held.back();
    entries.push_back({group.name(),
                       plain ? type.dtype : ir::DType::kU8,
                       bytes.sizes().vec(),
                       {static_cast<const std::byte*>(bytes.const_data_ptr()), bytes.nbytes()}});
  }
  importer::write_safetensors(path, std::move(entries),
                              {{"format", kFormat},
                               {"version", kVersion},
                               {"graph", text()},
                               {"signature", signature_of(*this).dump()}});
}

Program Program::load(const std::filesystem::path& path) {
  const auto file = importer::SafetensorsFile::open(path);
  check_version(file);
  auto impl = std::make_shared<Impl>();
  const std::string& text = metadata(file, "graph");
  impl->graph = ir::parse(text);
  ir::verify(impl->graph);
  impl->nodes_traced = impl->graph.size();
  impl->stages.emplace_back("load", text);
  const std::vector<Group> groups = groups_of(impl->graph);
  check_no_more(file, groups);
  std::map<std::string, at::Tensor> weights;
  for (const Group& group : groups) read_group(file, group, weights);
  try {
    trace::complete(*impl, weights);
  } catch (const Error& error) {
    if (error.code() != Code::kInvalidArgument) throw;
    throw Error(Code::kInvalidFile, path.string() + ": " + error.message(), error.node());
  }
  const std::string where = path.string() + ": signature";
  const nlohmann::json document = importer::parse_json(metadata(file, "signature"), where);
  const importer::JsonValue signature(document, where);
  apply_signature(signature.at("inputs"), impl->inputs);
  read_examples(signature.at("inputs"), *impl);
  apply_signature(signature.at("outputs"), impl->outputs);
  return Program(std::move(impl));
}

}  // namespace monograph
