#include "tests/acceptance/judge.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <monograph/executable.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "capture/import/safetensors.h"
#include "capture/import/safetensors_torch.h"
#include "capture/trace/convert.h"

namespace monograph::acceptance {
namespace {

using nlohmann::json;

std::vector<at::Tensor> tensors(const importer::SafetensorsFile& file, const std::string& prefix) {
  std::vector<at::Tensor> list;
  while (const auto* entry = file.find(prefix + std::to_string(list.size()))) {
    list.push_back(importer::read_tensor(*entry));
  }
  return list;
}

/// The same values on `device`, with the strides that PyTorch's tensors had; expanded dimensions
/// stay expanded.
std::vector<at::Tensor> with_strides(std::vector<at::Tensor> list, const json& strides,
                                     const at::Device& device) {
  for (at::Tensor& t : list) t = t.to(device);
  for (std::size_t i = 0; i < list.size() && i < strides.size(); ++i) {
    const auto wanted = strides[i].get<std::vector<std::int64_t>>();
    if (list[i].strides().vec() == wanted || list[i].numel() == 0) continue;
    at::Tensor laid = at::empty_strided(list[i].sizes(), wanted, list[i].options());
    at::Tensor target = laid;
    at::Tensor source = list[i];
    for (std::int64_t d = 0; d < target.dim(); ++d) {
      if (wanted[static_cast<std::size_t>(d)] != 0) continue;
      target = target.narrow(d, 0, 1);
      source = source.narrow(d, 0, 1);
    }
    target.copy_(source);
    list[i] = laid;
  }
  return list;
}

double root_mean_square(const at::Tensor& error) {
  const at::Tensor squares = error.is_complex() ? error.abs().square() : error.square();
  return std::sqrt(squares.mean().item<double>());
}

/// NaN and infinities of `got` stand where `wanted` has them; elsewhere both are finite.
bool same_non_finite(const at::Tensor& got, const at::Tensor& wanted, const at::Tensor& finite) {
  if (got.is_complex()) return at::equal(at::isfinite(got), finite);
  const at::Tensor zero = at::zeros_like(wanted);
  const at::Tensor a = at::where(finite, zero, got).nan_to_num(12345.0);
  const at::Tensor b = at::where(finite, zero, wanted).nan_to_num(12345.0);
  return at::equal(at::isfinite(got), finite) && at::equal(a, b);
}

/// Empty if `got` is acceptable; raises `worst`.
std::string judge_tensor(const at::Tensor& got, const at::Tensor& wanted, const at::Tensor& wide,
                         double units, double& worst) {
  if (got.scalar_type() != wanted.scalar_type() || got.sizes() != wanted.sizes()) {
    return fmt::format("expected {}, got {}", trace::describe(wanted), trace::describe(got));
  }
  if (got.numel() == 0 || at::equal(got, wanted)) return {};
  if (!got.is_floating_point() && !got.is_complex()) {
    return fmt::format("{} elements differ", (got != wanted).sum().item<std::int64_t>());
  }
  const auto type = got.is_complex() ? at::kComplexDouble : at::kDouble;
  const at::Tensor a = got.to(type);
  const at::Tensor b = wanted.to(type);
  const at::Tensor finite = at::isfinite(b);
  if (!same_non_finite(a, b, finite)) return "NaN or infinities stand elsewhere";
  const auto clean = [&](const at::Tensor& t) { return at::where(finite, t, at::zeros_like(t)); };
  const bool half = got.scalar_type() == at::kHalf || got.scalar_type() == at::kBFloat16;
  const double size = clean(b).abs().max().item<double>();
  const double rounding = units * (half ? 1e-3 : 1e-6) * std::max(size, 1e-6);
  const double apart = root_mean_square(clean(a - b));
  if (apart <= rounding) return {};
  if (!wide.defined() || wide.sizes() != got.sizes() || got.is_complex()) {
    return fmt::format("root mean square distance {:.3g} from eager, {:.3g} allowed", apart,
                       rounding);
  }
  const double factor = half ? 3 : 2;
  const double allowed = factor * root_mean_square(clean(b - wide)) + rounding;
  const double error = root_mean_square(clean(a - wide));
  worst = std::max(worst, error / allowed);
  if (error <= allowed) return {};
  return fmt::format("root mean square error {:.3g} against float64, {:.3g} allowed", error,
                     allowed);
}

/// Indices of equal elements are as good as each other: whether those along the dimension choose
/// the same elements, none of them twice.
bool choose_alike(at::Tensor got, at::Tensor wanted, at::Tensor from, std::int64_t dim) {
  if (got.sizes() != wanted.sizes() || got.scalar_type() != at::kLong) return false;
  if (from.dim() == 0) from = from.unsqueeze(0);
  if (got.dim() < from.dim()) {
    got = got.unsqueeze(dim);
    wanted = wanted.unsqueeze(dim);
  }
  if (got.lt(0).any().item<bool>() || got.ge(from.size(dim)).any().item<bool>()) return false;
  const at::Tensor sorted = std::get<0>(got.sort(dim));
  const std::int64_t count = got.size(dim);
  const at::Tensor twice = sorted.narrow(dim, 1, count - 1).eq(sorted.narrow(dim, 0, count - 1));
  return !twice.any().item<bool>() && at::equal(from.gather(dim, got), from.gather(dim, wanted));
}

/// What a case allows output `i`.
std::string judge_output(const at::Tensor& got, const at::Tensor& wanted,
                         const importer::SafetensorsFile& file, const std::string& prefix,
                         std::size_t i, const json& entry, double& worst) {
  const auto* wide = file.find(fmt::format("{}wide_{}", prefix, i));
  const std::string why =
      judge_tensor(got, wanted, wide != nullptr ? importer::read_tensor(*wide) : at::Tensor(),
                   entry.value("units", 1.0), worst);
  const json& ties = entry.value("ties", json::object());
  const auto chosen = ties.find(std::to_string(i));
  if (why.empty() || chosen == ties.end()) return why;
  const at::Tensor from = tensors(file, prefix + "in_").at((*chosen)[0].get<std::size_t>());
  return choose_alike(got, wanted, from, (*chosen)[1].get<std::int64_t>()) ? std::string() : why;
}

std::string judge_set(const std::vector<at::Tensor>& got, const importer::SafetensorsFile& file,
                      const std::string& prefix, const json& entry, double& worst) {
  const auto wanted = tensors(file, prefix + "out_");
  if (got.size() != wanted.size()) {
    return fmt::format("expected {} outputs, got {}", wanted.size(), got.size());
  }
  const json ignored = entry.value("ignore", json::array());
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::find(ignored.begin(), ignored.end(), json(i)) != ignored.end()) continue;
    const std::string why = judge_output(got[i], wanted[i], file, prefix, i, entry, worst);
    if (!why.empty()) return fmt::format("{}out_{}: {}", prefix, i, why);
  }
  return {};
}

std::vector<at::Tensor> on_host(std::vector<at::Tensor> list) {
  for (at::Tensor& t : list) t = t.cpu();
  return list;
}

Verdict replay_all(const Program& program, const importer::SafetensorsFile& file, const json& entry,
                   const at::Device& device, const Options& options) {
  Verdict verdict;
  Executable executable = Executable::build(program, options);
  verdict.launches = executable.report().launches;
  const auto inputs = [&](const std::string& prefix) {
    return with_strides(tensors(file, prefix + "in_"), entry["strides"], device);
  };
  const auto first = on_host(executable.replay(inputs("")));
  verdict.reason = judge_set(first, file, "", entry, verdict.worst);
  if (verdict.reason.empty() && entry["sets"].get<int>() > 1) {
    verdict.reason = judge_set(on_host(executable.replay(inputs("again."))), file, "again.", entry,
                               verdict.worst);
  }
  const auto again = on_host(executable.replay(inputs("")));
  for (std::size_t i = 0; i < first.size() && verdict.reason.empty(); ++i) {
    // equal() never holds for NaN; those were compared with eager's above.
    const bool floating = first[i].is_floating_point();
    const bool same = at::equal(floating ? again[i].nan_to_num() : again[i],
                                floating ? first[i].nan_to_num() : first[i]);
    if (!same) verdict.reason = fmt::format("out_{}: the same inputs gave other results", i);
  }
  verdict.status = verdict.reason.empty() ? "pass" : "fail";
  return verdict;
}

Verdict run(const std::string& folder, const json& entry, const at::Device& device,
            const Options& options) {
  const std::string path = folder + "/" + entry["name"].get<std::string>();
  const auto file = importer::SafetensorsFile::open(path + ".safetensors");
  const auto inputs = with_strides(tensors(file, "in_"), entry["strides"], device);
  auto outcome =
      entry.value("script", false)
          ? Program::import_torchscript(path + ".pt", inputs, Program::Trust::kTrusted, options)
          : Program::import_pt2(path + ".pt2", inputs, options);
  if (const auto* rejection = std::get_if<Rejection>(&outcome)) {
    return {"refused", std::string(code_name(rejection->code)), rejection->reason, 0, 0};
  }
  return replay_all(std::get<Program>(outcome), file, entry, device, options);
}

}  // namespace

Verdict judge(const std::string& folder, const json& entry, const at::Device& device,
              const Options& options) {
  try {
    return run(folder, entry, device, options);
  } catch (const Error& error) {
    return {"fail", std::string(code_name(error.code())), error.what(), 0, 0};
  } catch (const c10::Error& error) {
    return {"fail", "LibTorch", error.what_without_backtrace(), 0, 0};
  } catch (const std::exception& error) {
    return {"fail", "exception", error.what(), 0, 0};
  }
}

}  // namespace monograph::acceptance
