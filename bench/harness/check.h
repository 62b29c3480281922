// Are a contender's answers right? Asked before anything is timed.
#pragma once

#include <ATen/core/TensorBody.h>

#include <string>
#include <vector>

#include "bench/models/zoo/zoo.h"

namespace monograph::bench {

/// What answers are measured against.
struct Reference {
  std::vector<at::Tensor> exact;   ///< computed as `kind` says, on the CPU
  std::vector<double> eager_rmse;  ///< eager's own distance, per output
  std::vector<at::Tensor> eager;
  /// "float64"; where that doesn't fit in memory, "float32" for half precisions, else "eager".
  std::string kind;
};

/// Runs the model in float64 (or float32, see `kind`) with the weights and inputs of `model`, if
/// its weights take less than `most_bytes`.
Reference make_reference(const ModelEntry& entry, const ModelOptions& options,
                         const ModelCase& model, double most_bytes);

struct Check {
  bool passed = false;
  double max_abs_diff = 0;  ///< to the reference, over floating-point outputs
  double rmse = 0;          ///< of the worst output
  double allowed = 0;       ///< for that output
  std::string reason;       ///< empty if passed
};

/// RMSE at most twice eager's own (three times for half precisions) plus rounding of one unit;
/// integers as eager has them, except that half precisions may break ties otherwise. A NaN where
/// the reference has none fails.
Check check_outputs(const std::vector<at::Tensor>& outputs, const Reference& reference);

}  // namespace monograph::bench
