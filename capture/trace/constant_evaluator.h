// Constant folding's way to real tensors.
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <map>
#include <string>

#include "capture/passes/pass.h"

namespace monograph::trace {

/// Runs nodes with LibTorch under InferenceMode on the weights of one program, and adds results to
/// them as "_folded_constantN". Declines results larger than `limit_bytes` (views cost nothing and
/// have no limit), random or undefined contents, and operators that fail.
class TorchConstantEvaluator final : public passes::ConstantEvaluator {
 public:
  /// `weights` must outlive the evaluator.
  TorchConstantEvaluator(std::map<std::string, at::Tensor>& weights, std::int64_t limit_bytes)
      : weights_(weights), limit_bytes_(limit_bytes) {}

  std::optional<std::vector<passes::FoldedConstant>> evaluate(const ir::Node& node) override;
  std::optional<std::vector<passes::FoldedConstant>> evaluate_packed(const ir::Node& node) override;
  void discard(const std::string& attr) override;

 private:
  std::optional<std::vector<passes::FoldedConstant>> run(const ir::Node& node);
  std::string fresh_name();

  std::map<std::string, at::Tensor>& weights_;
  std::int64_t limit_bytes_;
  int made_ = 0;
};

}  // namespace monograph::trace
