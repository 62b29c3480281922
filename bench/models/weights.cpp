#include "bench/models/weights.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <monograph/error.h>

#include <algorithm>
#include <set>
#include <utility>

#include "capture/import/safetensors_torch.h"
#include "capture/trace/convert.h"

namespace monograph::bench {
namespace {

std::string spelt(ir::DType dtype, at::IntArrayRef shape) {
  return fmt::format("{}[{}]", ir::dtype_name(dtype), fmt::join(shape, ", "));
}

// What keeps `entry` from filling `tensor`; empty if nothing does.
std::string mismatch(const at::Tensor& tensor, const importer::SafetensorsEntry& entry) {
  const auto wanted = trace::dtype_of(tensor.scalar_type());
  if (wanted == entry.dtype && tensor.sizes() == at::IntArrayRef(entry.shape)) return {};
  return fmt::format("expected {}, the file has {}",
                     spelt(wanted.value_or(ir::DType::kUndefined), tensor.sizes()),
                     spelt(entry.dtype, entry.shape));
}

bool begins_with_any(const std::string& name, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const std::string& prefix) { return name.starts_with(prefix); });
}

std::string summary(const std::vector<std::string>& problems) {
  constexpr std::size_t kMost = 8;
  const std::size_t shown = std::min(problems.size(), kMost);
  std::string text =
      fmt::format("{}", fmt::join(problems.begin(), problems.begin() + shown, "\n  "));
  if (shown < problems.size()) text += fmt::format("\n  and {} more", problems.size() - shown);
  return text;
}

}  // namespace

void load_weights(torch::nn::Module& module, const importer::SafetensorsFile& file,
                  const std::vector<std::string>& unused) {
  std::vector<std::pair<at::Tensor, const importer::SafetensorsEntry*>> copies;
  std::vector<std::string> problems;
  std::set<std::string> names;
  const auto match = [&](const std::string& name, const at::Tensor& tensor) {
    names.insert(name);
    const auto* entry = file.find(name);
    const std::string problem = entry == nullptr ? "missing" : mismatch(tensor, *entry);
    if (problem.empty()) {
      copies.emplace_back(tensor, entry);
    } else {
      problems.push_back(name + ": " + problem);
    }
  };
  for (const auto& item : module.named_parameters()) match(item.key(), item.value());
  for (const auto& item : module.named_buffers()) match(item.key(), item.value());
  for (const auto& entry : file.entries()) {
    if (!names.contains(entry.name) && !begins_with_any(entry.name, unused)) {
      problems.push_back(entry.name + ": not part of the model");
    }
  }
  if (!problems.empty()) {
    throw Error(Code::kInvalidFile, fmt::format("{}: the weights don't fit the model:\n  {}",
                                                file.path().string(), summary(problems)));
  }
  const at::NoGradGuard no_grad;
  for (auto& [tensor, entry] : copies) tensor.copy_(importer::read_tensor(*entry));
}

}  // namespace monograph::bench
