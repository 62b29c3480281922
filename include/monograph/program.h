// Program: a traced graph, its weights and its signature.
#pragma once

#include <ATen/core/TensorBody.h>
#include <monograph/error.h>
#include <monograph/options.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace monograph {

namespace ir {
class Graph;
}

/// forward as Monograph sees it: flat tensors in, flat tensors out.
using ForwardFn = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)>;

/// A tensor that forward owns, with its fully qualified name.
struct NamedTensor {
  std::string name;
  at::Tensor tensor;
  bool is_buffer = false;
  bool is_constant = false;  ///< neither parameter nor buffer; read all the same
};

/// A forward and everything it owns. `make_module` (compiled_module.h) builds one from a
/// torch::nn::Module; free functions leave `tensors` empty.
struct Module {
  ForwardFn forward;
  std::vector<NamedTensor> tensors;
  /// The tensors as they are now, under the same names and in the same order; notices members that
  /// point elsewhere than when the module was described. Empty: `tensors` is taken for the truth.
  std::function<std::vector<NamedTensor>()> list_tensors;
  /// Names of submodules that behave differently in training and are in training mode
  /// (dropout, batch-norm); tracing such a module is refused.
  std::vector<std::string> training_modules;
  /// Names of forward's inputs; generated ("in_0") where missing.
  std::vector<std::string> input_names;
  /// Where inputs and outputs stand in nested arguments and results ("['mask']"); may be shorter.
  std::vector<std::string> input_paths;
  std::vector<std::string> output_paths;
  /// Keeps the module alive as long as programs made from it.
  std::shared_ptr<const void> owner;
};

/// Shape, dtype and device of one input or output.
struct TensorSpec {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<std::int64_t> sizes;
  std::vector<std::int64_t> strides;  ///< in elements
  at::Device device = at::kCPU;
  std::string path;               ///< place in nested arguments or results; empty if unknown
  std::string to_string() const;  ///< "f32[1,32,384]"
};

/// One line of the compile report: a pass and what it changed.
struct PassSummary {
  std::string name;
  std::int64_t changes = 0;
  std::size_t nodes_before = 0;
  std::size_t nodes_after = 0;
  double milliseconds = 0;
};

/// Immutable, cheap to copy (shared), safe to use from many threads. Holds references to every
/// weight storage, so addresses in executables stay valid as long as a Program lives.
class Program {
 public:
  /// Runs `module.forward` on `inputs` under InferenceMode, records it, and optimises the
  /// recording with `options.passes`. A second forward on other data tells what isn't the same on
  /// every call (Options::check_twice), a third where the first built something for all others. A
  /// module that can't be replayed safely comes back as a Rejection. Throws Error: kInvalidArgument
  /// for unusable inputs, kInvalidState for nested or concurrent tracing; whatever forward throws
  /// passes through with every piece of global and thread state restored. Inputs are never written.
  /// One trace at a time per process.
  static std::variant<Program, Rejection> trace(const Module& module,
                                                const std::vector<at::Tensor>& inputs,
                                                const Options& options = {});

  /// Program from graph text and its named weights. Error(kInvalidGraph) with line and column.
  /// `examples` are inputs that fit each other, or empty; integers among them are copied, for a
  /// device that warms up on them (counts and indices that don't fit are faults there), and stand
  /// in for those that a trace would have seen.
  static Program parse(std::string_view text, std::vector<NamedTensor> weights,
                       const std::vector<at::Tensor>& examples = {});

  /// Reads an archive that torch.export.save wrote ("model.pt2"), specialises its symbolic sizes to
  /// `inputs` (its tensor inputs, flat, in pytree order), runs it once on them under the same rules
  /// as `trace`, and optimises it. Node names, module paths and Python stack traces are kept.
  /// Weights stay in the mapped file, which must not be truncated while a Program lives; with
  /// inputs on a CUDA device they are copied there. Data only: nothing in the file is executed
  /// but operators of the namespaces in `options.op_namespaces`. Comes back as a Rejection: what
  /// `trace` refuses, mutations that the signature declares, operators that aren't known. Throws
  /// Error: kInvalidFile naming entry and field for a malformed, hostile or newer archive,
  /// kInvalidArgument for inputs that don't fit it, kInvalidGraph naming the node for a call that
  /// LibTorch refuses.
  static std::variant<Program, Rejection> import_pt2(const std::filesystem::path& path,
                                                     const std::vector<at::Tensor>& inputs,
                                                     const Options& options = {});

  /// Tensor inputs of an archive: names, places in nested arguments, types, and sizes, those at
  /// export where they are symbolic (2 where the archive doesn't say).
  static std::vector<TensorSpec> pt2_inputs(const std::filesystem::path& path);

  /// Loads a TorchScript archive and traces its very first call. TorchScript is code: loading it
  /// runs whatever its author wrote, so `trust` has to say that this is wanted;
  /// Error(kInvalidArgument) otherwise. Error(kInvalidFile) for a file that LibTorch can't load.
  enum class Trust : bool { kUntrusted, kTrusted };
  static std::variant<Program, Rejection> import_torchscript(const std::filesystem::path& path,
                                                             const std::vector<at::Tensor>& inputs,
                                                             Trust trust,
                                                             const Options& options = {});

  /// Writes graph, weights and signature into one file, replacing it in one step. The file is a
  /// safetensors file, whose metadata holds graph and signature. Error(kInvalidFile) if it can't be
  /// written, Error(kInvalidArgument) for weights of a type that safetensors doesn't know.
  void save(const std::filesystem::path& path) const;

  /// Reads what `save` wrote; no forward runs. Weights stay in the mapped file, which must not be
  /// truncated while a Program lives, unless the graph wants them on another device. Strict:
  /// Error(kInvalidFile) naming the field for a file that is no package, is newer, or whose graph,
  /// weights and signature don't fit each other, Error(kInvalidGraph) for its graph text.
  static Program load(const std::filesystem::path& path);

  const ir::Graph& graph() const;
  std::string text() const;    ///< graph text, see capture/ir/text.h
  std::string python() const;  ///< transformed_code.py, see capture/ir/python.h
  const std::vector<TensorSpec>& inputs() const;
  const std::vector<TensorSpec>& outputs() const;
  /// Weights by get_attr target, sorted by name.
  const std::vector<NamedTensor>& weights() const;
  /// Nodes recorded by the trace, before any pass.
  std::size_t nodes_traced() const;
  const std::vector<PassSummary>& passes() const;
  double trace_ms() const;   ///< the one forward with recording
  double passes_ms() const;  ///< all passes
  /// Graph text after each stage that changed it: ("trace", ...), ("dead_code", ...), ...
  const std::vector<std::pair<std::string, std::string>>& stages() const;

  /// Writes transformed_code.py, weights.safetensors and NN_<stage>.txt into `directory`
  /// (created). Returns false, with one warning logged, if that can't be done.
  bool dump(const std::string& directory) const;

  struct Impl;
  explicit Program(std::shared_ptr<const Impl> impl);
  const Impl& impl() const { return *impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

}  // namespace monograph
