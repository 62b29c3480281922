#include "capture/trace/constant_evaluator.h"

#include <c10/core/InferenceMode.h>
#include <monograph/error.h>

#include <algorithm>
#include <unordered_map>

#include "capture/trace/convert.h"
#include "capture/trace/interpreter.h"
#include "runtime/base/log.h"

namespace monograph::trace {
namespace {

constexpr std::string_view kPrefix = "_folded_constant";

}  // namespace

std::string TorchConstantEvaluator::fresh_name() {
  std::string name;
  do {
    name = std::string(kPrefix) + std::to_string(made_++);
  } while (weights_.contains(name));
  return name;
}

std::optional<std::vector<passes::FoldedConstant>> TorchConstantEvaluator::evaluate(
    const ir::Node& node) {
  if (node.traits.random || node.traits.nondeterministic) return std::nullopt;
  const bool large =
      std::any_of(node.values().begin(), node.values().end(),
                  [this](const ir::Value& v) { return v.type.storage_extent() > limit_bytes_; });
  if (large && !ir::is_view(node)) return std::nullopt;
  return run(node);
}

std::optional<std::vector<passes::FoldedConstant>> TorchConstantEvaluator::evaluate_packed(
    const ir::Node& node) {
  return run(node);
}

std::optional<std::vector<passes::FoldedConstant>> TorchConstantEvaluator::run(
    const ir::Node& node) {
  std::unordered_map<const ir::Node*, std::vector<at::Tensor>> read;  // looked up only
  const Resolver resolve = [&](const ir::Node& n) -> const std::vector<at::Tensor>& {
    const auto weight = weights_.find(n.target());
    if (n.kind() != ir::NodeKind::kGetAttr || weight == weights_.end()) {
      throw Error(Code::kInternal, "constant folding was given a node that is no weight", n.name());
    }
    return read[&n] = {weight->second};
  };
  std::vector<at::Tensor> results;
  try {
    const c10::InferenceMode inference;
    results = run_call(node, resolve);
  } catch (const Error& e) {
    if (e.code() == Code::kInternal) throw;
    base::log(base::LogLevel::kDebug, std::string("not folded: ") + e.what());
    return std::nullopt;
  }
  for (const at::Tensor& t : results) {
    if (!t.defined() || !unsupported_reason(t).empty()) return std::nullopt;
  }
  std::vector<passes::FoldedConstant> constants;
  for (const at::Tensor& t : results) {
    const auto nbytes = static_cast<std::int64_t>(t.storage().nbytes());
    constants.push_back({fresh_name(), type_of(t), nbytes});
    weights_[constants.back().attr] = t;
  }
  return constants;
}

void TorchConstantEvaluator::discard(const std::string& attr) {
  if (attr.starts_with(kPrefix)) weights_.erase(attr);
}

}  // namespace monograph::trace
