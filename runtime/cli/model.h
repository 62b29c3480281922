// Finds and loads what MODEL names.
#pragma once

#include <monograph/program.h>

#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "runtime/cli/request.h"

namespace monograph::cli {

/// A model and inputs for it.
struct Loaded {
  std::string kind;  ///< "pt2", "package", "torchscript" or "built-in"
  std::variant<Program, Rejection> outcome{Rejection{}};
  std::vector<TensorSpec> specs;  ///< of its inputs
  std::vector<at::Tensor> inputs;
  Options options;
  /// LibTorch's own results, operator by operator without any pass, or by the module itself.
  std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)> reference;
};

/// A built-in model that isn't there, or no file of that name.
class UnknownModel final : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws UnknownModel, or Error as Program's own loading functions do.
Loaded load_model(const Request& request, const Options& options);

}  // namespace monograph::cli
