// What a back end is: it takes a planned program and returns something that runs it.
// Sees torch thinly: tensors in, tensors out.
#pragma once

#include <ATen/core/TensorBody.h>
#include <monograph/error.h>
#include <monograph/executable.h>
#include <monograph/options.h>
#include <monograph/program.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/lower/lower.h"
#include "runtime/plan/plan.h"

namespace monograph::exec {

/// Everything a back end builds from. Lives as long as the Executable.
struct Planned {
  const ir::Graph* graph = nullptr;  ///< the program's, or `own_graph`
  /// The program's with the fusions taken apart that the back end has no kernel for; else null.
  std::shared_ptr<const ir::Graph> own_graph;
  std::vector<std::string> expanded;  ///< which and why, a line each
  lower::Lowered lowered;
  plan::Plan plan;
  std::map<std::string, at::Tensor> weights;  ///< by get_attr target
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
  std::vector<at::Tensor> examples;  ///< by input, as Program::Impl has them; empty if it has none
  std::shared_ptr<void> session;     ///< what Backend::open_session gave; null if it is empty
};

/// Source of a kernel as it was compiled, and the nodes whose launches run it.
struct KernelSource {
  std::string name;  ///< file name, unique within the executable
  std::string text;
  std::vector<std::string> nodes;
};

/// A built plan. Not thread-safe; Executable sees to one replay at a time. `inputs` and `outputs`
/// have been checked against the specs. Afterwards outputs hold the results (host), or will once
/// the current stream has run (CUDA).
class Runner {
 public:
  virtual ~Runner() = default;
  virtual void run(const std::vector<at::Tensor>& inputs,
                   const std::vector<at::Tensor>& outputs) = 0;
  /// The same, one launch after the other, with the time that each took, in microseconds by launch
  /// id, in `microseconds`. False, and nothing done, if this runner can't tell launches apart.
  virtual bool run_timed([[maybe_unused]] const std::vector<at::Tensor>& inputs,
                         [[maybe_unused]] const std::vector<at::Tensor>& outputs,
                         [[maybe_unused]] std::vector<double>& microseconds) {
    return false;
  }
  /// Takes the weights in `Planned::weights`, which have been replaced by tensors of the same
  /// signature, from the next run on; `changed` are the names. Throws Error(kInvalidState) with
  /// nothing changed if some can't be replaced; after any other error the runner can't be used.
  virtual void rebind_weights([[maybe_unused]] const std::vector<std::string>& changed) {
    throw Error(Code::kInvalidState,
                "this back end can't replace the weights of a built executable; build again");
  }
  /// "node (aten.op.overload)" for launches that allocate on each replay.
  virtual std::vector<std::string> allocating_launches() const { return {}; }
  /// Text of a back-end specific stage, or empty if unknown.
  virtual std::string dump([[maybe_unused]] std::string_view stage) const { return {}; }
  virtual std::vector<std::string> dump_stages() const { return {}; }
  /// Sources of the kernels it runs, for dumps; empty where there are none to show.
  virtual std::vector<KernelSource> sources() const { return {}; }
};

struct Backend {
  std::string name;       ///< "host", "cuda", ...
  lower::Chooser choose;  ///< how calls are implemented
  plan::Concurrency concurrency = plan::Concurrency::kSequential;
  /// Empty string if usable here, otherwise the reason why not.
  std::function<std::string(const Options&)> unavailable;
  std::function<std::unique_ptr<Runner>(const Planned&, const Options&)> build;
  /// What the executables of one CompiledModule share (context, arena). Empty: nothing.
  std::function<std::shared_ptr<void>(const Options&)> open_session = {};
  /// Names of the options that it takes from Options::backend_options, without "name.".
  std::vector<std::string> option_names = {};
  /// Instead of `choose`, where the choice depends on the session's device.
  std::function<lower::Chooser(const std::shared_ptr<void>&)> choose_for = {};
};

/// Registers at static initialisation; a duplicate name terminates the process with a message.
struct BackendRegistration {
  explicit BackendRegistration(Backend backend);
};
/// Error(kInvalidOption) naming the registered back ends.
const Backend& find_backend(std::string_view name);
std::vector<std::string> registered_backends();  ///< sorted

/// The back end that `options` ask for: the object, the one of that name, or for "auto" cuda if
/// tensors are there and host otherwise. Error(kInvalidOption) for an unknown name, a name beside
/// an object, and options that aren't the chosen back end's, by name.
const Backend& chosen_backend(const Options& options, bool tensors_on_cuda);
/// The same errors as far as they are known before any tensor is.
void check_options(const Options& options);

}  // namespace monograph::exec
