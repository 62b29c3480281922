#include "runtime/inspect/reproducer.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_strided.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <set>

#include "capture/import/safetensors_torch.h"
#include "capture/ir/text.h"
#include "capture/ir/verify.h"
#include "runtime/dump/folder.h"

namespace monograph::inspect {
namespace {

namespace fs = std::filesystem;

void write_tensors(const fs::path& file, const std::map<std::string, at::Tensor>& tensors) {
  if (fs::exists(file)) {
    throw fs::filesystem_error("can't write", file, std::make_error_code(std::errc::file_exists));
  }
  const c10::InferenceMode inference;
  std::vector<at::Tensor> held;  // what the entries point into
  std::vector<importer::SafetensorsEntry> entries;
  for (const auto& [name, tensor] : tensors) {
    held.push_back(tensor.cpu().contiguous());
    entries.push_back(importer::entry_of(name, held.back()));
  }
  importer::write_safetensors(file, std::move(entries));
}

std::map<std::string, at::Tensor> read_tensors(const fs::path& file) {
  const auto contents = importer::SafetensorsFile::open(file);
  std::map<std::string, at::Tensor> out;
  for (const auto& entry : contents.entries()) out[entry.name] = importer::read_tensor(entry);
  return out;
}

/// Targets of get_attr nodes, in subgraphs too.
void collect_targets(const ir::Graph& graph, std::set<std::string>& targets) {
  for (const auto& node : graph.nodes()) {
    if (node->kind() == ir::NodeKind::kGetAttr) targets.insert(node->target());
  }
  for (const auto& [name, body] : graph.subgraphs()) collect_targets(*body, targets);
}

std::map<std::string, at::Tensor> needed_weights(const Subject& s) {
  std::set<std::string> targets;
  collect_targets(s.graph, targets);
  std::map<std::string, at::Tensor> out;
  for (const std::string& target : targets) out[target] = s.weights.at(target);
  return out;
}

std::map<std::string, at::Tensor> numbered(const std::vector<at::Tensor>& tensors) {
  std::map<std::string, at::Tensor> out;
  for (std::size_t i = 0; i < tensors.size(); ++i) out[fmt::format("out_{}", i)] = tensors[i];
  return out;
}

/// The case as `monograph run` takes it.
void write_package(const Subject& s, const fs::path& file) {
  std::vector<NamedTensor> weights;
  for (const auto& [name, tensor] : s.weights) weights.push_back({name, tensor, false});
  Program::parse(ir::text(s.graph), std::move(weights), s.inputs).save(file);
}

/// `t`'s values with the strides that the graph gives it.
at::Tensor placed(const at::Tensor& t, const ir::TensorType& type) {
  const c10::InferenceMode inference;
  at::Tensor out = at::empty_strided(type.sizes, type.strides, t.options());
  return out.copy_(t);
}

}  // namespace

void write_reproducer(const Finding& finding, const fs::path& folder) {
  const Subject& s = finding.reproducer;
  fs::create_directories(folder);
  dump::write_file(folder / "finding.txt", finding.to_string());
  dump::write_file(folder / "graph.txt", ir::text(s.graph));
  write_tensors(folder / "weights.safetensors", needed_weights(s));
  std::map<std::string, at::Tensor> inputs;
  const auto placeholders = s.graph.placeholders();
  for (std::size_t i = 0; i < placeholders.size(); ++i) {
    inputs[placeholders[i]->target()] = s.inputs.at(i);
  }
  write_tensors(folder / "inputs.safetensors", inputs);
  write_package(s, folder / "case.mono");
  write_tensors(folder / "expected.safetensors", numbered(results_of(s)));
}

Subject read_reproducer(const fs::path& folder) {
  std::ifstream file(folder / "graph.txt", std::ios::binary);
  if (!file) {
    throw Error(Code::kInvalidFile,
                fmt::format("can't read '{}'", (folder / "graph.txt").string()));
  }
  const std::string text(std::istreambuf_iterator<char>(file), {});
  Subject s{ir::parse(text), read_tensors(folder / "weights.safetensors"), {}};
  ir::verify(s.graph);
  auto inputs = read_tensors(folder / "inputs.safetensors");
  for (const ir::Node* node : s.graph.placeholders()) {
    const auto found = inputs.find(node->target());
    if (found == inputs.end()) {
      throw Error(Code::kInvalidFile,
                  fmt::format("'{}' has no tensor '{}'", (folder / "inputs.safetensors").string(),
                              node->target()));
    }
    s.inputs.push_back(placed(found->second, node->type()));
  }
  return s;
}

}  // namespace monograph::inspect
