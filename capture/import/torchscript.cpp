// Program::import_torchscript. The one file that sees TorchScript.
#include <fmt/format.h>
#include <monograph/program.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

#include <memory>

namespace monograph {
namespace {

/// Keeps the interpreter from fusing operators into what the tracer couldn't see.
class UnoptimizedScope {
 public:
  UnoptimizedScope() : before_(torch::jit::getGraphExecutorOptimize()) {
    torch::jit::setGraphExecutorOptimize(false);
  }
  ~UnoptimizedScope() { torch::jit::setGraphExecutorOptimize(before_); }
  UnoptimizedScope(const UnoptimizedScope&) = delete;
  UnoptimizedScope& operator=(const UnoptimizedScope&) = delete;

 private:
  bool before_;
};

/// Tensors of a result, depth first, in order.
void flatten(const c10::IValue& value, std::vector<at::Tensor>& tensors) {
  if (value.isTensor()) {
    tensors.push_back(value.toTensor());
  } else if (value.isTuple()) {
    for (const c10::IValue& v : value.toTupleRef().elements()) flatten(v, tensors);
  } else if (value.isList()) {
    for (const c10::IValue& v : value.toListRef()) flatten(v, tensors);
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) flatten(entry.value(), tensors);
  }
}

torch::jit::Module load_script(const std::filesystem::path& path, const at::Device& device) {
  try {
    return torch::jit::load(path.string(), device);
  } catch (const std::exception& error) {
    const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
    throw Error(Code::kInvalidFile, path.string() + ": LibTorch can't load it as TorchScript", {},
                torch_error != nullptr ? torch_error->what_without_backtrace() : error.what());
  }
}

Module describe(const std::shared_ptr<torch::jit::Module>& script) {
  Module module;
  for (const auto& p : script->named_parameters()) {
    module.tensors.push_back({p.name, p.value, false});
  }
  for (const auto& b : script->named_buffers()) {
    module.tensors.push_back({b.name, b.value, true});
  }
  if (script->hasattr("training") && script->is_training()) {
    module.training_modules.emplace_back("the script module");
  }
  module.owner = script;
  return module;
}

}  // namespace

std::variant<Program, Rejection> Program::import_torchscript(const std::filesystem::path& path,
                                                             const std::vector<at::Tensor>& inputs,
                                                             Trust trust, const Options& options) {
  if (trust != Trust::kTrusted) {
    throw Error(Code::kInvalidArgument,
                path.string() +
                    ": TorchScript is code and runs when it is loaded; pass Trust::kTrusted if "
                    "you trust whoever wrote it, or export a .pt2 archive instead");
  }
  const at::Device device = inputs.empty() ? at::Device(at::kCPU) : inputs.front().device();
  const UnoptimizedScope unoptimized;
  const auto script = std::make_shared<torch::jit::Module>(load_script(path, device));
  Module module = describe(script);
  module.forward = [script](const std::vector<at::Tensor>& tensors) {
    std::vector<at::Tensor> outputs;
    flatten(script->forward({tensors.begin(), tensors.end()}), outputs);
    return outputs;
  };
  // TorchScript's executor fuses from its second run on, and fused operators aren't seen. A script
  // has no host code that a second forward could find out about.
  Options once = options;
  once.check_twice = false;
  return trace(module, inputs, once);
}

}  // namespace monograph
