// Constant folding for graphs that have no weights: recorded ones whose plans are wanted.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "capture/passes/pass.h"

namespace kernels_test {

namespace ir = monograph::ir;
namespace passes = monograph::passes;

/// Agrees to keep any constant, by its type alone.
class TypesOnly final : public passes::ConstantEvaluator {
 public:
  std::optional<std::vector<passes::FoldedConstant>> evaluate(const ir::Node& node) override {
    if (node.values().size() != 1) return std::nullopt;
    const ir::Value& v = node.values().front();
    return std::vector<passes::FoldedConstant>{
        {"folded_" + std::to_string(made_++), v.type, v.type.storage_extent()}};
  }

 private:
  int made_ = 0;
};

}  // namespace kernels_test
