// Program::import_torchscript. The one file that sees TorchScript.
#include <fmt/format.h>
#include <monograph/program.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

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

/// A value in an attribute, and where it stands: "inner.cache[2]".
struct Leaf {
  std::string path;
  c10::IValue value;

  bool same(const Leaf& other) const {
    if (path != other.path || value.tagKind() != other.value.tagKind()) return false;
    return value.isString() ? value.toStringRef() == other.value.toStringRef()
                            : value.is(other.value);
  }
};

void add_leaves(const std::string& path, const c10::IValue& value, std::vector<Leaf>& leaves) {
  const auto add_all = [&](const auto& values) {
    leaves.push_back({path + ".size", static_cast<std::int64_t>(values.size())});
    for (std::size_t i = 0; i < values.size(); ++i) {
      add_leaves(fmt::format("{}[{}]", path, i), values[i], leaves);
    }
  };
  if (value.isList()) {
    add_all(value.toListRef());
  } else if (value.isTuple()) {
    add_all(value.toTupleRef().elements());
  } else if (value.isGenericDict()) {
    std::vector<c10::IValue> entries;
    for (const auto& entry : value.toGenericDict()) {
      entries.push_back(entry.key());
      entries.push_back(entry.value());
    }
    add_all(entries);
  } else {
    leaves.push_back({path, value});
  }
}

/// Everything that the attributes of a module and its submodules hold. Forward may change what is
/// no parameter or buffer as it likes, and no operator shows it.
std::vector<Leaf> attributes_of(const torch::jit::Module& script) {
  std::vector<Leaf> leaves;
  for (const auto& attribute : script.named_attributes()) {
    add_leaves(attribute.name, attribute.value, leaves);
  }
  return leaves;
}

std::optional<Rejection> changed_attribute(const std::vector<Leaf>& before,
                                           const std::vector<Leaf>& after) {
  const auto [a, b] =
      std::ranges::mismatch(before, after, [](const Leaf& x, const Leaf& y) { return x.same(y); });
  if (a == before.end() && b == after.end()) return std::nullopt;
  Rejection rejection;
  rejection.code = Code::kRejectedRebinding;
  rejection.subject = a == before.end() ? b->path : a->path;
  rejection.reason =
      "forward changes the attribute '" + rejection.subject +
      "' of the script module: a replay runs no script and would go on with what was "
      "there while tracing";
  rejection.remedy =
      "import the part of the module that takes its state as an argument and returns the new one";
  return rejection;
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
  // TorchScript's executor fuses from its second run on, and fused operators aren't seen. What a
  // second forward could find out about a script shows in its attributes.
  Options once = options;
  once.check_twice = false;
  const std::vector<Leaf> before = attributes_of(*script);
  auto outcome = trace(module, inputs, once);
  if (std::holds_alternative<Rejection>(outcome)) return outcome;
  if (auto changed = changed_attribute(before, attributes_of(*script))) return std::move(*changed);
  return outcome;
}

}  // namespace monograph
