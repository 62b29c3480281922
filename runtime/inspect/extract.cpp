#include "runtime/inspect/extract.h"

#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>
#include <monograph/error.h>

#include <algorithm>
#include <set>

#include "capture/ir/analysis.h"
#include "capture/ir/verify.h"
#include "capture/trace/interpreter.h"

namespace monograph::inspect {
namespace {

using NodeSet = std::set<const ir::Node*>;  // looked up only

template <class Fn>
void for_each_argument(const ir::Node& node, Fn&& fn) {
  for (const ir::Arg& a : node.args()) ir::for_each_node(a, fn);
  for (const auto& [name, a] : node.kwargs()) ir::for_each_node(a, fn);
}

bool is_call(const ir::Node& node) {
  return node.kind() == ir::NodeKind::kCallFunction;
}

/// Calls among `calls` whose tensors the rest of the graph uses, in order.
std::vector<const ir::Node*> live_out(const std::vector<const ir::Node*>& calls,
                                      const NodeSet& inside) {
  std::vector<const ir::Node*> out;
  for (const ir::Node* call : calls) {
    const bool used = std::ranges::any_of(
        call->users(), [&inside](const ir::Node* user) { return !inside.contains(user); });
    if (used && call->has_tensor() && call->type().defined()) out.push_back(call);
  }
  return out;
}

/// Calls that the outputs need, through arguments and through writes to what they read.
std::vector<const ir::Node*> needed(const std::vector<const ir::Node*>& calls,
                                    const std::vector<const ir::Node*>& outputs) {
  NodeSet wanted(outputs.begin(), outputs.end());
  std::set<ir::StorageId> storages;
  const auto want = [&](const ir::Node* node) {
    wanted.insert(node);
    for (const ir::Value& v : node->values()) storages.insert(v.storage);
  };
  for (const ir::Node* output : outputs) want(output);
  std::vector<const ir::Node*> kept;
  for (std::size_t i = calls.size(); i-- > 0;) {
    const ir::Node& call = *calls[i];
    const bool writes = std::ranges::any_of(call.writes(), [&storages](const ir::Node* target) {
      return std::ranges::any_of(target->values(), [&storages](const ir::Value& v) {
        return storages.contains(v.storage);
      });
    });
    if (!wanted.contains(&call) && !writes) continue;
    kept.push_back(&call);
    for_each_argument(call, want);
  }
  std::ranges::reverse(kept);
  return kept;
}

/// The weights, with copies of those that the graph may write.
std::map<std::string, at::Tensor> weights_of_its_own(const Subject& subject) {
  const c10::InferenceMode inference;
  std::map<std::string, at::Tensor> weights = subject.weights;
  for (const auto& node : subject.graph.nodes()) {
    if (node->kind() != ir::NodeKind::kGetAttr) continue;
    if (subject.graph.storage(node->storage()).kind != ir::StorageKind::kState) continue;
    at::Tensor& state = weights.at(node->target());
    state = state.clone();
  }
  return weights;
}

/// Values of `nodes` as the interpreter finds them, each in memory of its own with its strides.
std::map<const ir::Node*, at::Tensor> values_of(const Subject& subject,
                                                const std::vector<const ir::Node*>& nodes) {
  if (nodes.empty()) return {};
  ir::Graph copy = subject.graph.clone();
  ir::Arg::List wanted;
  for (const ir::Node* node : nodes) wanted.emplace_back(copy.find(node->name()));
  copy.set_args(copy.output_node(), std::move(wanted), {});
  const auto tensors = trace::interpret(copy, weights_of_its_own(subject), subject.inputs);
  const c10::InferenceMode inference;
  std::map<const ir::Node*, at::Tensor> out;
  for (std::size_t i = 0; i < nodes.size(); ++i) out[nodes[i]] = tensors.at(i).clone();
  return out;
}

/// Builds the new graph, placeholders first, then the rest in the order of the old one.
class Extraction {
 public:
  Extraction(const Subject& subject, const std::vector<const ir::Node*>& calls)
      : subject_(subject), calls_(calls), inside_(calls.begin(), calls.end()) {
    result_.graph.set_name(subject.graph.name());
    result_.weights = subject.weights;
  }

  Subject run(const std::vector<const ir::Node*>& outputs) {
    add_inputs();
    for (const auto& node : subject_.graph.nodes()) {
      if (weights_.contains(node.get())) add_weight(*node);
      if (inside_.contains(node.get())) add_call(*node);
    }
    std::vector<ir::Arg> leaves;
    for (const ir::Node* node : outputs) leaves.emplace_back(map_.at(node));
    result_.graph.output({ir::Arg(ir::Arg::List(leaves.begin(), leaves.end()))});
    ir::verify(result_.graph);
    return std::move(result_);
  }

 private:
  [[noreturn]] static void refuse(const ir::Node& node, const std::string& why) {
    throw Error(Code::kInvalidGraph, why, node.name());
  }

  void add_inputs() {
    NodeSet seen;
    std::vector<const ir::Node*> placeholders;
    std::vector<const ir::Node*> values;
    for (const ir::Node* call : calls_) {
      for_each_argument(*call, [&](const ir::Node* used) {
        if (inside_.contains(used) || !seen.insert(used).second) return;
        if (used->kind() == ir::NodeKind::kGetAttr) {
          weights_.insert(used);
        } else if (!used->has_tensor() || !used->type().defined()) {
          refuse(*used, "only a tensor can become an input");
        } else if (is_call(*used)) {
          values.push_back(used);
        } else {
          placeholders.push_back(used);
        }
      });
    }
    const auto known = values_of(subject_, values);
    add_placeholders(placeholders);
    for (const ir::Node* node : values) add_input(*node, known.at(node));
  }

  void add_placeholders(const std::vector<const ir::Node*>& wanted) {
    const auto all = subject_.graph.placeholders();
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (std::ranges::find(wanted, all[i]) == wanted.end()) continue;
      ir::Node* made = result_.graph.placeholder(all[i]->target(), all[i]->type(),
                                                 subject_.graph.storage(all[i]->storage()).nbytes);
      connect(*all[i], *made);
      result_.inputs.push_back(subject_.inputs.at(i));
    }
  }

  /// A call's result as an input: its own memory, so offsets count from its first element.
  void add_input(const ir::Node& node, const at::Tensor& value) {
    ir::TensorType type = node.type();
    type.offset = 0;
    type.strides.assign(value.strides().begin(), value.strides().end());
    connect(node, *result_.graph.placeholder(node.name(), type));
    shifts_[node.storage()] = node.type().offset;
    result_.inputs.push_back(value);
  }

  void add_weight(const ir::Node& node) {
    const ir::Storage& storage = subject_.graph.storage(node.storage());
    const auto known = storages_.find(node.storage());
    ir::Node* made =
        result_.graph.get_attr(node.target(), node.type(), storage.kind, storage.nbytes,
                               known == storages_.end() ? ir::kNoStorage : known->second);
    connect(node, *made);
  }

  void add_call(const ir::Node& node) {
    add_body(node);
    ir::Results results;
    results.is_list = node.is_list();
    for (const ir::Value& value : node.values()) results.values.push_back(converted(value));
    ir::Kwargs kwargs;
    for (const auto& [key, arg] : node.kwargs()) kwargs.emplace_back(key, converted(arg));
    std::vector<ir::Arg> args;
    for (const ir::Arg& arg : node.args()) args.push_back(converted(arg));
    std::vector<ir::Node*> writes;
    for (const ir::Node* target : node.writes()) writes.push_back(map_.at(target));
    ir::Node* made = result_.graph.call(node.target(), std::move(args), std::move(kwargs),
                                        std::move(results), std::move(writes), node.name());
    made->traits = node.traits;
    made->module_path = node.module_path;
    made->source = node.source;
    connect(node, *made);
  }

  void add_body(const ir::Node& node) {
    constexpr std::string_view kPrefix = "fusion.";
    if (!node.target().starts_with(kPrefix)) return;
    const std::string name = node.target().substr(kPrefix.size());
    const ir::Graph* body = subject_.graph.subgraph(name);
    if (body != nullptr && result_.graph.subgraph(name) == nullptr) {
      result_.graph.add_subgraph(name, body->clone());
    }
  }

  ir::Value converted(const ir::Value& value) const {
    ir::Value out = value;
    const auto known = storages_.find(value.storage);
    out.storage = known == storages_.end() ? ir::kNoStorage : known->second;
    const auto shift = shifts_.find(value.storage);
    if (shift != shifts_.end()) out.type.offset -= shift->second;
    return out;
  }

  ir::Arg converted(const ir::Arg& arg) const {
    if (arg.is_node()) return map_.at(arg.node());
    if (!arg.is_list()) return arg;
    ir::Arg::List list;
    for (const ir::Arg& a : arg.list()) list.push_back(converted(a));
    return list;
  }

  /// `made` stands for `node`: whoever aliases the one's storages aliases the other's.
  void connect(const ir::Node& node, ir::Node& made) {
    map_[&node] = &made;
    for (std::size_t i = 0; i < node.values().size(); ++i) {
      const ir::StorageId old = node.values()[i].storage;
      if (old == ir::kNoStorage) continue;
      const auto [at, fresh] = storages_.try_emplace(old, made.values()[i].storage);
      if (fresh && !shifts_.contains(old)) {
        result_.graph.grow_storage(at->second, subject_.graph.storage(old).nbytes);
      }
    }
  }

  const Subject& subject_;
  const std::vector<const ir::Node*>& calls_;
  NodeSet inside_;
  NodeSet weights_;
  std::map<const ir::Node*, ir::Node*> map_;  // looked up only
  std::map<ir::StorageId, ir::StorageId> storages_;
  std::map<ir::StorageId, std::int64_t> shifts_;  // of storages that became inputs
  Subject result_;
};

}  // namespace

Subject copy_of(const Subject& subject) {
  return {subject.graph.clone(), weights_of_its_own(subject), subject.inputs};
}

std::vector<at::Tensor> results_of(const Subject& subject) {
  return trace::interpret(subject.graph, weights_of_its_own(subject), subject.inputs);
}

std::vector<const ir::Node*> calls_of(const ir::Graph& graph) {
  std::vector<const ir::Node*> calls;
  for (const auto& node : graph.nodes()) {
    if (is_call(*node)) calls.push_back(node.get());
  }
  return calls;
}

Subject extract(const Subject& subject, const std::vector<const ir::Node*>& calls,
                const std::vector<const ir::Node*>& outputs) {
  const NodeSet inside(calls.begin(), calls.end());
  std::vector<const ir::Node*> wanted = outputs.empty() ? live_out(calls, inside) : outputs;
  std::erase_if(wanted, [&inside](const ir::Node* node) { return !inside.contains(node); });
  if (wanted.empty()) throw Error(Code::kInvalidGraph, "nothing uses these calls");
  const std::vector<const ir::Node*> kept = needed(calls, wanted);
  return Extraction(subject, kept).run(wanted);
}

}  // namespace monograph::inspect
