// Are a contender's answers right? Asked before anything is timed.
#pragma once

#include <ATen/core/TensorBody.h>

#include <string>
#include <vector>

#include "bench/models/zoo/zoo.h"

namespace monograph::bench {

/// What answers are measured against.
struct Reference {
  std::vector<at::Tensor> exact;   ///< float64 where `kind` says so, on the CPU
  std::vector<double> eager_rmse;  ///< eager's own distance, per output
  std::vector<at::Tensor> eager;
  std::string kind;  ///< "float64", or "eager" where float64 doesn't fit in memory
};

/// Runs the model in float64 with the weights and inputs of `model`, if it takes less than
/// `most_bytes`.
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
