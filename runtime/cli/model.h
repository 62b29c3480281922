// Finds and loads what MODEL names.
#pragma once

#include <monograph/program.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "bench/minilm/device.h"
#include "runtime/cli/request.h"
#include "runtime/inspect/extract.h"

namespace monograph::cli {

using Tensors = std::vector<at::Tensor>;

/// A model and inputs for it.
struct Loaded {
  std::string kind;  ///< "pt2", "package", "torchscript", "graph" or "built-in"
  std::variant<Program, Rejection> outcome{Rejection{}};
  std::vector<TensorSpec> specs;  ///< of its inputs
  Tensors inputs;
  Options options;
  Request request;  ///< with what the model itself says of its inputs
  /// LibTorch's own results, operator by operator without any pass, or by the module itself. May
  /// write declared state.
  std::function<Tensors(const Tensors&)> reference;
  std::optional<Module> module;  ///< of built-in models
  /// The graph before any pass, with its weights, for bisecting; empty for built-in models.
  std::function<inspect::Subject()> subject;
  std::optional<Tensors> expected;  ///< of a reproducer

  /// Error(kInternal) for a rejection; ask first.
  const Program& program() const { return std::get<Program>(outcome); }
};

/// A built-in model that isn't there or doesn't fit, or no file of that name.
class UnknownModel final : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws UnknownModel, or Error as Program's own loading functions do. `device` is what
/// request.device chose.
Loaded load_model(const Request& request, const bench::Device& device);

/// The parts of it: one function for each kind of file.
Loaded load_built_in(const Request& request, const Options& options, at::Device device);
Loaded load_graph(const Request& request, const Options& options);

/// The list of passes that `request` and the back end ask for; empty: the tracer's own.
std::vector<std::string> pipeline_of(const Request& request, const Options& options);

/// Tensors of declared state, each once.
Tensors state_of(const Program& program);

}  // namespace monograph::cli
