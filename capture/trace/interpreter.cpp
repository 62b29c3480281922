#include "capture/trace/interpreter.h"

#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <monograph/error.h>

#include <algorithm>
#include <unordered_map>

#include "capture/ir/text.h"
#include "capture/trace/convert.h"

namespace monograph::trace {
namespace {

constexpr std::string_view kFusionPrefix = "fusion.";

[[noreturn]] void fail(const ir::Node& node, const std::string& message,
                       const std::string& cause = {}) {
  throw Error(Code::kInvalidGraph, message, node.name(), cause);
}

std::vector<at::Tensor> results_of(const torch::jit::Stack& stack) {
  std::vector<at::Tensor> results;
  auto add = [&results](const c10::IValue& v) {
    results.push_back(v.isTensor() ? v.toTensor() : at::Tensor());
  };
  for (const c10::IValue& v : stack) {
    if (v.isList()) {
      for (const c10::IValue& element : v.toListRef()) add(element);
    } else {
      add(v);
    }
  }
  return results;
}

/// as_strided counts from the beginning of memory; that of the tensor at hand may begin elsewhere
/// than the recorded one's (a slice given as input).
void shift_as_strided(const ir::Node& node, torch::jit::Stack& stack) {
  constexpr std::size_t kOffset = 3;
  if (!node.is_call("aten.as_strided.default") || !stack[kOffset].isInt()) return;
  const auto shift = stack[0].toTensor().storage_offset() - node.args()[0].node()->type().offset;
  stack[kOffset] = stack[kOffset].toInt() + shift;
}

class Interpreter {
 public:
  Interpreter(const ir::Graph& graph, const std::map<std::string, at::Tensor>& weights)
      : graph_(graph), weights_(weights) {
    for (const auto& node : graph.nodes()) {
      for_each_argument(*node, [&](const ir::Node* used) { last_use_[used] = node.get(); });
    }
  }

  std::vector<at::Tensor> run(const std::vector<at::Tensor>& inputs) {
    const auto placeholders = graph_.placeholders();
    if (inputs.size() != placeholders.size()) {
      throw Error(Code::kInvalidArgument, "graph '" + graph_.name() + "' takes " +
                                              std::to_string(placeholders.size()) +
                                              " inputs, got " + std::to_string(inputs.size()));
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) values_[placeholders[i]] = {inputs[i]};
    std::vector<at::Tensor> outputs;
    for (const auto& node : graph_.nodes()) {
      if (node->kind() == ir::NodeKind::kOutput) {
        for (const ir::Arg& a : node->args()) collect(a, outputs);
        break;
      }
      if (node->kind() != ir::NodeKind::kPlaceholder) values_[node.get()] = evaluate(*node);
      check(*node);
      release_arguments(*node);
    }
    return outputs;
  }

 private:
  const std::vector<at::Tensor>& value(const ir::Node& node) const {
    const auto it = values_.find(&node);
    if (it == values_.end()) fail(node, "its result is used before it is computed");
    return it->second;
  }

  std::vector<at::Tensor> evaluate(const ir::Node& node) {
    if (node.kind() == ir::NodeKind::kGetAttr) {
      const auto it = weights_.find(node.target());
      if (it == weights_.end()) {
        throw Error(Code::kInvalidArgument, "no weight named '" + node.target() + "'", node.name());
      }
      return {it->second};
    }
    if (node.is_call("operator.getitem")) {
      const auto& list = value(*node.args()[0].node());
      return {list.at(static_cast<std::size_t>(node.args()[1].as<std::int64_t>()))};
    }
    if (node.target().starts_with(kFusionPrefix)) return run_fusion(node);
    return run_call(
        node, [this](const ir::Node& n) -> const std::vector<at::Tensor>& { return value(n); });
  }

  std::vector<at::Tensor> run_fusion(const ir::Node& node) {
    const ir::Graph* body =
        graph_.subgraph(std::string_view(node.target()).substr(kFusionPrefix.size()));
    if (body == nullptr) fail(node, "there is no subgraph for '" + node.target() + "'");
    std::vector<at::Tensor> inputs;
    for (const ir::Arg& a : node.args()) collect(a, inputs);
    return Interpreter(*body, weights_).run(inputs);
  }

  void collect(const ir::Arg& arg, std::vector<at::Tensor>& out) const {
    ir::for_each_node(arg, [&](const ir::Node* n) {
      const auto& tensors = value(*n);
      out.insert(out.end(), tensors.begin(), tensors.end());
    });
  }

  void check(const ir::Node& node) const {
    const auto& tensors = value(node);
    if (node.values().empty()) return;
    if (tensors.size() != node.values().size()) {
      fail(node, "expected " + std::to_string(node.values().size()) + " results, got " +
                     std::to_string(tensors.size()));
    }
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const ir::TensorType& type = node.values()[i].type;
      if (!type.defined()) continue;
      const bool same = tensors[i].defined() && dtype_of(tensors[i].scalar_type()) == type.dtype &&
                        std::equal(type.sizes.begin(), type.sizes.end(), tensors[i].sizes().begin(),
                                   tensors[i].sizes().end());
      if (!same) fail(node, "expected " + ir::text(type) + ", got " + describe(tensors[i]));
    }
  }

  template <class Fn>
  static void for_each_argument(const ir::Node& node, Fn&& fn) {
    for (const ir::Arg& a : node.args()) ir::for_each_node(a, fn);
    for (const auto& [name, a] : node.kwargs()) ir::for_each_node(a, fn);
  }

  /// Frees what nobody reads any more.
  void release_arguments(const ir::Node& node) {
    for_each_argument(node, [&](const ir::Node* used) {
      if (last_use_.at(used) == &node) values_.erase(used);
    });
    if (!last_use_.contains(&node)) values_.erase(&node);
  }

  const ir::Graph& graph_;
  const std::map<std::string, at::Tensor>& weights_;
  std::unordered_map<const ir::Node*, const ir::Node*> last_use_;        // looked up only
  std::unordered_map<const ir::Node*, std::vector<at::Tensor>> values_;  // looked up only
};

}  // namespace

std::vector<at::Tensor> run_call(const ir::Node& node, const Resolver& resolve) {
  const c10::OperatorHandle op = operator_of(node);
  torch::jit::Stack stack = bind_arguments(node, op.schema(), resolve);
  shift_as_strided(node, stack);
  try {
    op.callBoxed(stack);
  } catch (const c10::Error& e) {
    fail(node, node.target() + " failed", e.what_without_backtrace());
  } catch (const std::exception& e) {
    fail(node, node.target() + " failed", e.what());
  }
  return results_of(stack);
}

std::vector<at::Tensor> interpret(const ir::Graph& graph,
                                  const std::map<std::string, at::Tensor>& weights,
                                  const std::vector<at::Tensor>& inputs) {
  const c10::InferenceMode inference;
  return Interpreter(graph, weights).run(inputs);
}

}  // namespace monograph::trace
