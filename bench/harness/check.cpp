#include "bench/harness/check.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isnan.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace monograph::bench {
namespace {

std::vector<at::Tensor> copies_on_cpu(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> copies;
  for (const auto& tensor : tensors) {
    copies.push_back(tensor.to(at::kCPU, tensor.scalar_type(), false, /*copy=*/true));
  }
  return copies;
}

at::Tensor as_double(const at::Tensor& tensor) {
  return tensor.is_floating_point() ? tensor.to(at::kDouble) : tensor;
}

double rmse(const at::Tensor& a, const at::Tensor& b) {
  return std::sqrt((as_double(a) - as_double(b)).square().mean().item<double>());
}

bool is_half(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kHalf || tensor.scalar_type() == at::kBFloat16;
}

// The same module in a `wide` type, with `model`'s rounded weights.
std::vector<at::Tensor> run_in(at::ScalarType type, const ModelEntry& entry,
                               const ModelOptions& options, const ModelCase& model) {
  ModelOptions wide = options;
  wide.dtype = type;
  const ModelCase exact = entry.make(wide);
  std::map<std::string, at::Tensor> weights;
  for (const auto& named : model.module.tensors) weights.emplace(named.name, named.tensor);
  for (const auto& named : exact.module.tensors) {
    const auto found = weights.find(named.name);
    if (found != weights.end()) named.tensor.detach().copy_(found->second);
  }
  std::vector<at::Tensor> inputs;
  for (const auto& input : model.inputs) {
    inputs.push_back(input.is_floating_point() ? input.to(type) : input);
  }
  std::vector<at::Tensor> outputs = copies_on_cpu(exact.module.forward(inputs));
  for (auto& output : outputs) output = as_double(output);
  return outputs;
}

}  // namespace

Reference make_reference(const ModelEntry& entry, const ModelOptions& options,
                         const ModelCase& model, double most_bytes) {
  const c10::InferenceMode inference;
  Reference reference;
  reference.eager = copies_on_cpu(model.module.forward(model.inputs));
  const double element = static_cast<double>(at::elementSize(options.dtype));
  double bytes = 0;
  std::set<const void*> seen;  // tied weights have several names
  for (const auto& named : model.module.tensors) {
    if (!seen.insert(named.tensor.const_data_ptr()).second) continue;
    bytes += static_cast<double>(named.tensor.nbytes());
  }
  const double elements = bytes / element;
  if (elements * sizeof(double) <= most_bytes) {
    reference.kind = "float64";
    reference.exact = run_in(at::kDouble, entry, options, model);
  } else if (element < sizeof(float) && elements * sizeof(float) <= most_bytes) {
    reference.kind = "float32";  // its own error is nothing beside a half's
    reference.exact = run_in(at::kFloat, entry, options, model);
  } else {
    reference.kind = "eager";
    for (const auto& output : reference.eager) reference.exact.push_back(as_double(output));
  }
  for (std::size_t i = 0; i < reference.eager.size(); ++i) {
    reference.eager_rmse.push_back(
        reference.eager[i].is_floating_point() ? rmse(reference.eager[i], reference.exact[i]) : 0);
  }
  return reference;
}

Check check_outputs(const std::vector<at::Tensor>& outputs, const Reference& reference) {
  Check check;
  if (outputs.size() != reference.exact.size()) {
    check.reason = fmt::format("{} outputs instead of {}", outputs.size(), reference.exact.size());
    return check;
  }
  check.passed = true;
  const bool half = std::any_of(reference.eager.begin(), reference.eager.end(), is_half);
  const auto fail = [&check](const std::string& why) {
    check.passed = false;
    check.reason = why;
  };
  for (std::size_t i = 0; i < outputs.size() && check.passed; ++i) {
    const at::Tensor& eager = reference.eager[i];
    const at::Tensor& exact = reference.exact[i];
    if (outputs[i].sizes() != eager.sizes() || outputs[i].scalar_type() != eager.scalar_type()) {
      fail(fmt::format("output {} has another shape or type than eager's", i));
    } else if (!eager.is_floating_point()) {
      if (!half && !outputs[i].equal(eager)) fail(fmt::format("output {} differs from eager's", i));
    } else if (!at::isnan(outputs[i]).equal(at::isnan(eager))) {
      fail(fmt::format(
          "output {} has NaN in other places than eager's: {} of {} elements, eager's {}", i,
          at::isnan(outputs[i]).sum().item<std::int64_t>(), outputs[i].numel(),
          at::isnan(eager).sum().item<std::int64_t>()));
    } else {
      const double scale = exact.square().mean().sqrt().item<double>();
      const double unit = half ? (eager.scalar_type() == at::kHalf ? 0x1p-11 : 0x1p-8) : 0x1p-23;
      const double allowed = (half ? 3 : 2) * reference.eager_rmse[i] + unit * scale;
      const double distance = rmse(outputs[i], exact);
      if (distance >= check.rmse) {
        check.rmse = distance;
        check.allowed = allowed;
      }
      check.max_abs_diff =
          std::max(check.max_abs_diff, (as_double(outputs[i]) - exact).abs().max().item<double>());
      if (!(distance <= allowed)) {
        fail(fmt::format("output {}: RMSE {:.3g}, allowed {:.3g}", i, distance, allowed));
      }
    }
  }
  return check;
}

}  // namespace monograph::bench
