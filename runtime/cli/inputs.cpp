#include "runtime/cli/inputs.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <fmt/format.h>

#include <map>
#include <string>

#include "capture/import/safetensors.h"
#include "capture/import/safetensors_torch.h"
#include "runtime/cli/npy.h"

namespace monograph::cli {
namespace {

/// An input by its own name or by its place, "in_3"; nothing if there is none.
std::optional<std::size_t> find(const std::vector<TensorSpec>& specs, const std::string& name) {
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].name == name || name == fmt::format("in_{}", i)) return i;
  }
  return std::nullopt;
}

std::size_t index_of(const std::vector<TensorSpec>& specs, const std::string& name) {
  if (const auto i = find(specs, name)) return *i;
  std::string names;
  for (const TensorSpec& spec : specs) names += (names.empty() ? "" : ", ") + spec.name;
  throw Error(Code::kInvalidArgument,
              fmt::format("there is no input '{}'; the inputs are {}", name, names));
}

std::map<std::size_t, at::Tensor> read_files(const Request& request,
                                             const std::vector<TensorSpec>& specs) {
  std::map<std::size_t, at::Tensor> given;
  for (const std::string& input : request.inputs) {
    if (const std::size_t at = input.find('='); at != std::string::npos) {
      given[index_of(specs, input.substr(0, at))] = read_npy(input.substr(at + 1));
      continue;
    }
    const auto file = importer::SafetensorsFile::open(input);
    for (const auto& entry : file.entries()) {
      if (const auto i = find(specs, entry.name)) given[*i] = importer::read_tensor(entry);
    }
  }
  return given;
}

at::Tensor draw(const Request& request, const TensorSpec& spec, std::size_t index,
                const std::vector<std::int64_t>& sizes, at::Generator& random) {
  const auto options = at::TensorOptions().dtype(spec.dtype);
  if (at::isFloatingType(spec.dtype) || at::isComplexType(spec.dtype)) {
    const bool half = spec.dtype != at::kDouble && !at::isComplexType(spec.dtype);
    return at::randn(sizes, random, half ? options.dtype(at::kFloat) : options).to(spec.dtype);
  }
  std::pair<std::int64_t, std::int64_t> range{0, 2};
  for (const auto& [name, bounds] : request.int_ranges) {
    if (name == spec.name || name == fmt::format("in_{}", index)) range = bounds;
  }
  if (spec.dtype == at::kBool) range = {0, 2};
  return at::randint(range.first, range.second, sizes, random, options.dtype(at::kLong))
      .to(spec.dtype);
}

}  // namespace

std::vector<at::Tensor> make_inputs(const Request& request, const std::vector<TensorSpec>& specs,
                                    std::uint64_t seed) {
  for (const auto& [name, range] : request.int_ranges) (void)index_of(specs, name);
  std::map<std::size_t, std::vector<std::int64_t>> shapes;
  for (const auto& [name, shape] : request.shapes) shapes[index_of(specs, name)] = shape;
  auto given = read_files(request, specs);
  at::Generator random = at::detail::createCPUGenerator(seed);
  std::vector<at::Tensor> inputs;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const auto shape = shapes.find(i);
    const auto& sizes = shape != shapes.end() ? shape->second : specs[i].sizes;
    const auto file = given.find(i);
    at::Tensor tensor =
        file != given.end() ? file->second : draw(request, specs[i], i, sizes, random);
    inputs.push_back(tensor.to(specs[i].device));
  }
  return inputs;
}

std::vector<at::Tensor> redraw(const Request& request, const std::vector<TensorSpec>& specs,
                               const std::vector<at::Tensor>& like, std::uint64_t seed) {
  Request sized = request;
  sized.shapes.clear();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    sized.shapes[fmt::format("in_{}", i)] = like[i].sizes().vec();
  }
  return make_inputs(sized, specs, seed);
}

}  // namespace monograph::cli
