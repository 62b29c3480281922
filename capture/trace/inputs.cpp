#include "capture/trace/inputs.h"

#include <ATen/ops/empty_strided.h>
#include <monograph/error.h>

#include <algorithm>
#include <set>

#include "capture/trace/convert.h"

namespace monograph::trace {
namespace {

[[noreturn]] void unusable(const std::string& what) {
  throw Error(Code::kInvalidArgument, what);
}

std::string quoted_name(const Module& module, std::size_t i) {
  const bool named = i < module.input_names.size();
  return "input " + std::to_string(i) + (named ? " ('" + module.input_names[i] + "')" : "");
}

/// True if both tensors fill their memory and share some of it, or are one tensor. Interleaved
/// slices pass: they may share a range without sharing an element.
bool overlap(const at::Tensor& a, const at::Tensor& b) {
  if (a.numel() == 0 || b.numel() == 0 || a.device() != b.device()) return false;
  if (a.is_same(b)) return true;
  const auto* a_begin = static_cast<const char*>(a.const_data_ptr());
  const auto* b_begin = static_cast<const char*>(b.const_data_ptr());
  if (a_begin == b_begin) return true;
  if (!a.is_non_overlapping_and_dense() || !b.is_non_overlapping_and_dense()) return false;
  return a_begin < b_begin + b.nbytes() && b_begin < a_begin + a.nbytes();
}

void check_input(const at::Tensor& tensor, const std::string& name) {
  const std::string expected = name + ": expected a dense tensor without gradient on cpu or cuda, ";
  if (!tensor.defined()) unusable(expected + "got an undefined tensor");
  if (tensor.is_quantized()) unusable(expected + "got a quantised tensor");
  if (const std::string why = unsupported_reason(tensor); !why.empty()) {
    const bool dense = tensor.layout() == at::kStrided && tensor.has_storage();
    unusable(
        expected + "got " +
        (dense ? describe(tensor) : std::string("one of layout ") + c10::str(tensor.layout())) +
        ": " + why);
  }
  if (tensor.requires_grad()) {
    unusable(expected + "got " + describe(tensor) + ", which requires grad; pass " + "x.detach()");
  }
}

at::Tensor private_copy(const at::Tensor& tensor) {
  if (tensor.is_non_overlapping_and_dense()) return tensor.clone();
  if (tensor.numel() == 0) {
    return at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options());
  }
  return flat_memory(tensor).clone().as_strided(tensor.sizes(), tensor.strides(), 0);
}

}  // namespace

at::Tensor flat_memory(const at::Tensor& tensor) {
  std::int64_t extent = tensor.numel() == 0 ? 0 : 1;
  for (std::int64_t d = 0; d < tensor.dim() && extent > 0; ++d) {
    extent += (tensor.size(d) - 1) * tensor.stride(d);
  }
  return tensor.as_strided({extent}, {1}, tensor.storage_offset());
}

void check_inputs(const Module& module, const std::vector<at::Tensor>& inputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) check_input(inputs[i], quoted_name(module, i));
}

std::optional<Rejection> overlapping_inputs(const Module& module,
                                            const std::vector<at::Tensor>& inputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (!overlap(inputs[j], inputs[i])) continue;
      Rejection rejection;
      rejection.code = Code::kRejectedAliasing;
      rejection.subject = input_names(module, inputs.size())[i];
      rejection.reason = quoted_name(module, i) +
                         ": expected memory of its own, got a tensor that overlaps " +
                         quoted_name(module, j) +
                         ": forward may take notice of that, and a replay on tensors that don't "
                         "overlap would be another computation";
      rejection.remedy = "pass a clone, or let forward take the tensor once";
      return rejection;
    }
  }
  return std::nullopt;
}

std::vector<std::string> input_names(const Module& module, std::size_t count) {
  std::vector<std::string> names = module.input_names;
  if (names.size() > count) {
    unusable("expected " + std::to_string(names.size()) + " inputs, one for each input name, got " +
             std::to_string(count));
  }
  while (names.size() < count) names.push_back("in_" + std::to_string(names.size()));
  std::set<std::string> seen;
  for (const std::string& name : names) {
    if (name.empty()) unusable("input names must not be empty");
    if (!seen.insert(name).second) unusable("two inputs are called '" + name + "'");
  }
  return names;
}

void check_module(const Module& module) {
  if (!module.forward) unusable("the module has no forward");
  std::set<std::string> seen;
  for (const NamedTensor& weight : module.tensors) {
    if (weight.name.empty()) unusable("a weight of the module has an empty name");
    if (!seen.insert(weight.name).second) {
      unusable("two weights of the module are called '" + weight.name + "'");
    }
  }
}

std::vector<at::Tensor> private_copies(const std::vector<at::Tensor>& inputs) {
  std::vector<at::Tensor> copies;
  copies.reserve(inputs.size());
  std::transform(inputs.begin(), inputs.end(), std::back_inserter(copies), private_copy);
  return copies;
}

}  // namespace monograph::trace
