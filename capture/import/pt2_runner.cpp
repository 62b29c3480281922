#include "capture/import/pt2_runner.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <monograph/error.h>
#include <monograph/region.h>

#include <algorithm>
#include <map>
#include <utility>

#include "capture/import/pt2_check.h"
#include "capture/import/scalar_ops.h"
#include "capture/ir/graph.h"
#include "capture/trace/arguments.h"
#include "capture/trace/convert.h"
#include "capture/trace/origin.h"

namespace monograph::importer {
namespace {

/// A result: a tensor (maybe undefined), or a number.
struct Slot {
  std::vector<at::Tensor> tensor;  ///< one, for the resolver; empty: a number
  Number number;
  ir::Node* handle = nullptr;  ///< stands for the tensor in arguments
};

/// Checks on values: left out, since a replay has nobody to tell.
bool is_dropped(std::string_view target) {
  return target.starts_with("aten._assert_async.") || target.starts_with("aten._print.") ||
         target.starts_with("aten._assert_tensor_metadata.") ||
         target.starts_with("aten.sym_constrain_range");
}

class GraphRun {
 public:
  GraphRun(const Pt2Graph& graph, const at::Device& device)
      : graph_(graph), device_(trace::device_of(device).value_or(ir::Device{})) {
    const auto note = [this](const Pt2Argument& argument, std::size_t at) {
      for_each_name(argument, [&](const std::string& name) { last_use_[name] = at; });
    };
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      for (const auto& [name, argument] : graph.nodes[i].inputs) note(argument, i);
    }
    for (const Pt2Argument& output : graph.outputs) note(output, graph.nodes.size());
  }

  void bind(const Pt2Argument& name, const at::Tensor& tensor) { define(name, tensor); }
  void bind(const Pt2Argument& name, const Number& number) {
    if (const auto* n = name.get_if<Pt2Name>()) slots_[n->name].number = number;
  }

  void run() {
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Pt2Node& node = graph_.nodes[i];
      const Region region(node.module_path);
      const trace::Origin origin(node.name, node.stack_trace);
      run(node);
      release(node, i);
    }
  }

  /// The output's value as a boxed value: tensor, number or None.
  c10::IValue output(const Pt2Argument& argument) const {
    const auto* name = argument.get_if<Pt2Name>();
    if (name == nullptr) return {};
    const Slot& slot = slots_.at(name->name);
    if (!slot.tensor.empty()) return slot.tensor.front();
    return std::visit([](auto v) { return c10::IValue(v); }, slot.number);
  }

 private:
  template <class Fn>
  static void for_each_name(const Pt2Argument& argument, Fn&& fn) {
    if (const auto* name = argument.get_if<Pt2Name>()) {
      fn(name->name);
    } else if (const auto* list = argument.get_if<Pt2Argument::List>()) {
      for (const Pt2Argument& a : *list) for_each_name(a, fn);
    }
  }

  [[noreturn]] static void fail(const Pt2Node& node, const std::string& what,
                                const std::string& cause = {}, Code code = Code::kInvalidGraph) {
    throw Error(code, node.target + ": " + what, node.name, cause);
  }

  void run(const Pt2Node& node) {
    if (is_number_op(node.target)) return run_number(node);
    if (node.target == kSetGradEnabled || node.target == kWithAutocast) return run_wrapped(node);
    const std::string target = operator_target(node.target).value_or(node.target);
    if (is_dropped(target)) return;
    if (target == "aten._assert_scalar.default") return check_assertion(node);
    if (target.starts_with("aten.sym_")) return run_size(node, target);
    run_operator(node, target);
  }

  void run_number(const Pt2Node& node) {
    std::vector<Number> numbers;
    for (const auto& [name, argument] : node.inputs) numbers.push_back(number(node, argument));
    const auto value = evaluate_number(node.target, numbers);
    if (!value) fail(node, "has no value for these arguments");
    define_number(node, *value);
  }

  void define_number(const Pt2Node& node, const Number& value) {
    const auto* name = node.outputs.size() == 1 ? node.outputs[0].get_if<Pt2Name>() : nullptr;
    if (name == nullptr) fail(node, "expected one result");
    slots_[name->name].number = value;
  }

  Number number(const Pt2Node& node, const Pt2Argument& argument) const {
    if (const auto* v = argument.get_if<bool>()) return *v;
    if (const auto* v = argument.get_if<std::int64_t>()) return *v;
    if (const auto* v = argument.get_if<double>()) return *v;
    if (const auto* name = argument.get_if<Pt2Name>()) {
      const Slot& slot = slots_.at(name->name);
      if (slot.tensor.empty()) return slot.number;
    }
    fail(node, "expected a number");
  }

  void check_assertion(const Pt2Node& node) const {
    if (node.inputs.empty()) fail(node, "lacks its condition");
    if (as_double(number(node, node.inputs[0].second)) != 0) return;
    const auto* text =
        node.inputs.size() > 1 ? node.inputs[1].second.get_if<std::string>() : nullptr;
    fail(node, "an assertion of the exported graph doesn't hold for these inputs",
         text != nullptr ? *text : "", Code::kInvalidArgument);
  }

  /// Sizes and strides, read off the tensor.
  void run_size(const Pt2Node& node, const std::string& target) {
    if (node.inputs.empty()) fail(node, "lacks its tensor");
    const at::Tensor tensor = this->tensor(node, node.inputs[0].second);
    if (target == "aten.sym_numel.default") return define_number(node, tensor.numel());
    if (target == "aten.sym_storage_offset.default") {
      return define_number(node, tensor.storage_offset());
    }
    const bool size = target == "aten.sym_size.int";
    if ((!size && target != "aten.sym_stride.int") || node.inputs.size() != 2) {
      fail(node, "expected one of sym_size.int, sym_stride.int, sym_numel and sym_storage_offset");
    }
    const auto* dim = node.inputs[1].second.get_if<std::int64_t>();
    if (dim == nullptr || *dim >= tensor.dim() || *dim < -tensor.dim()) {
      fail(node, "its dimension is out of range");
    }
    define_number(node, size ? tensor.size(*dim) : tensor.stride(*dim));
  }

  at::Tensor tensor(const Pt2Node& node, const Pt2Argument& argument) const {
    if (const auto* name = argument.get_if<Pt2Name>()) {
      const Slot& slot = slots_.at(name->name);
      if (!slot.tensor.empty() && slot.tensor.front().defined()) return slot.tensor.front();
    }
    fail(node, "expected a tensor");
  }

  void run_wrapped(const Pt2Node& node) {
    const std::size_t at = wrapped_graph_index(node.target);
    const auto& inner = **node.inputs[at].second.get_if<std::shared_ptr<const Pt2Graph>>();
    GraphRun body(inner, trace::torch_device(device_));
    if (node.inputs.size() - at - 1 != inner.inputs.size()) fail(node, "wrong number of arguments");
    for (std::size_t i = 0; i < inner.inputs.size(); ++i) {
      const Pt2Argument& argument = node.inputs[at + 1 + i].second;
      const auto* name = argument.get_if<Pt2Name>();
      if (name != nullptr && !slots_.at(name->name).tensor.empty()) {
        body.bind(inner.inputs[i], slots_.at(name->name).tensor.front());
      } else {
        body.bind(inner.inputs[i], number(node, argument));
      }
    }
    body.run();
    torch::jit::Stack results;
    for (const Pt2Argument& output : inner.outputs) results.push_back(body.output(output));
    define_results(node, results);
  }

  void run_operator(const Pt2Node& node, const std::string& target) {
    ir::Kwargs named;
    std::vector<ir::Arg> positional;
    for (const auto& [name, argument] : node.inputs) {
      if (name.empty()) {
        positional.push_back(convert(argument));
      } else {
        named.emplace_back(name, convert(argument));
      }
    }
    ir::Node* call =
        scratch_.call(target, std::move(positional), std::move(named), ir::Results::none());
    torch::jit::Stack stack;
    try {
      const c10::OperatorHandle op = trace::operator_of(*call);
      stack = trace::bind_arguments(
          *call, op.schema(), [this](const ir::Node& handle) -> const std::vector<at::Tensor>& {
            return *tensors_.at(&handle);
          });
      op.callBoxed(stack);
    } catch (const c10::Error& error) {
      fail(node, "LibTorch refuses the call", error.what_without_backtrace());
    } catch (const Error& error) {
      if (error.node() != call->name()) throw;
      throw Error(error.code(), error.message(), node.name, error.driver_text());
    }
    scratch_.erase(call);
    define_results(node, stack);
  }

  void define_results(const Pt2Node& node, const torch::jit::Stack& results) {
    if (node.outputs.size() == 1 && node.outputs[0].get_if<Pt2Argument::List>() != nullptr &&
        results.size() != 1) {
      define_list(node, *node.outputs[0].get_if<Pt2Argument::List>(), results);
      return;
    }
    if (node.outputs.size() != results.size() && !node.outputs.empty()) {
      fail(node, fmt::format("gives {} results, the archive says {}", results.size(),
                             node.outputs.size()));
    }
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      if (const auto* list = node.outputs[i].get_if<Pt2Argument::List>()) {
        if (!results[i].isList()) fail(node, "gives one result, the archive says a list");
        const auto items = results[i].toListRef();
        define_list(node, *list, torch::jit::Stack(items.begin(), items.end()));
      } else {
        define(node, node.outputs[i], results[i]);
      }
    }
  }

  void define_list(const Pt2Node& node, const Pt2Argument::List& names,
                   const torch::jit::Stack& results) {
    if (names.size() != results.size()) {
      fail(node,
           fmt::format("gives {} results, the archive says {}", results.size(), names.size()));
    }
    for (std::size_t i = 0; i < names.size(); ++i) define(node, names[i], results[i]);
  }

  void define(const Pt2Node& node, const Pt2Argument& output, const c10::IValue& value) {
    if (value.isTensor() || value.isNone()) {
      define(output, value.isTensor() ? value.toTensor() : at::Tensor());
    } else if (value.isBool()) {
      define_number(node, value.toBool());
    } else if (value.isInt()) {
      define_number(node, value.toInt());
    } else if (value.isDouble()) {
      define_number(node, value.toDouble());
    } else {
      fail(node, "gives a result of type " + value.tagKind());
    }
  }

  void define(const Pt2Argument& name, const at::Tensor& tensor) {
    const auto* n = name.get_if<Pt2Name>();
    if (n == nullptr) return;
    Slot& slot = slots_[n->name];
    slot.tensor = {tensor};
    slot.handle = scratch_.placeholder(fmt::format("t{}", handles_++),
                                       ir::TensorType::contiguous(ir::DType::kF32, {}));
    tensors_[slot.handle] = &slot.tensor;
  }

  /// Frees what no later node reads.
  void release(const Pt2Node& node, std::size_t at) {
    const auto free = [&](const std::string& name) {
      const auto last = last_use_.find(name);
      if (last != last_use_.end() && last->second > at) return;
      const auto slot = slots_.find(name);
      if (slot == slots_.end()) return;
      if (slot->second.handle != nullptr) {
        tensors_.erase(slot->second.handle);
        scratch_.erase(slot->second.handle);
      }
      slots_.erase(slot);
    };
    for (const auto& [name, argument] : node.inputs) for_each_name(argument, free);
    for (const Pt2Argument& output : node.outputs) for_each_name(output, free);
  }

  ir::Arg convert(const Pt2Argument& argument) const {
    return std::visit([this](const auto& value) { return convert_value(value); }, argument.value);
  }
  template <class T>
  ir::Arg convert_value(const T& value) const {
    return value;
  }
  ir::Arg convert_value(const std::monostate&) const { return {}; }
  ir::Arg convert_value(const Pt2Name& name) const {
    const Slot& slot = slots_.at(name.name);
    if (slot.tensor.empty()) {
      return std::visit([](const auto& v) { return ir::Arg(v); }, slot.number);
    }
    if (!slot.tensor.front().defined()) return {};
    return slot.handle;
  }
  ir::Arg convert_value(const Pt2Argument::List& list) const {
    ir::Arg::List items;
    for (const Pt2Argument& a : list) items.push_back(convert(a));
    return items;
  }
  ir::Arg convert_value(const ir::Device& device) const {
    return device.type == ir::DeviceType::kMeta ? device : device_;
  }
  ir::Arg convert_value(const std::shared_ptr<const Pt2Graph>&) const { return {}; }
  ir::Arg convert_value(const Pt2Foreign&) const { return {}; }

  const Pt2Graph& graph_;
  ir::Device device_;
  std::map<std::string, std::size_t, std::less<>> last_use_;
  std::map<std::string, Slot, std::less<>> slots_;
  /// Nodes that stand for tensors and calls, so that arguments are bound as a graph's are.
  ir::Graph scratch_{"import"};
  std::map<const ir::Node*, const std::vector<at::Tensor>*> tensors_;  // looked up only
  std::int64_t handles_ = 0;
};

}  // namespace

Pt2Results run_pt2(const Pt2Model& model, const std::vector<at::Tensor>& weights,
                   const std::vector<at::Tensor>& inputs, const at::Device& device) {
  using Kind = Pt2InputSpec::Kind;
  GraphRun run(model.graph, device);
  std::size_t weight = 0;
  std::size_t input = 0;
  for (std::size_t i = 0; i < model.input_specs.size(); ++i) {
    const Pt2InputSpec& spec = model.input_specs[i];
    const Pt2Argument& name = model.graph.inputs[i];
    if (spec.kind != Kind::kUser && spec.kind != Kind::kConstant) {
      run.bind(name, weights.at(weight++));
    } else if (model.graph.tensors.contains(spec.name)) {
      run.bind(name, inputs.at(input++));
    } else if (const auto hint = model.graph.hints.find(spec.name);
               hint != model.graph.hints.end() && hint->second) {
      run.bind(name, Number(*hint->second));
    }
  }
  run.run();
  Pt2Results results;
  for (std::size_t i = 0; i < model.graph.outputs.size(); ++i) {
    const c10::IValue value = run.output(model.graph.outputs[i]);
    if (!value.isTensor() || !value.toTensor().defined()) continue;
    results.tensors.push_back(value.toTensor());
    results.places.push_back(i);
  }
  return results;
}

}  // namespace monograph::importer
