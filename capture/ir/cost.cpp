#include "capture/ir/cost.h"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <string_view>
#include <vector>

namespace monograph::ir {
namespace {

constexpr std::string_view kFusionPrefix = "fusion.";

const Graph* body_of(const Node& node) {
  if (!node.target().starts_with(kFusionPrefix)) return nullptr;
  return node.graph().subgraph(std::string_view(node.target()).substr(kFusionPrefix.size()));
}

bool is_one_of(std::string_view target, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), target) != names.end();
}

/// Reads rows of its first argument, as many as it returns.
bool gathers(const Node& node) {
  return is_one_of(node.target(), {"aten.embedding.default", "aten.index_select.default",
                                   "aten.gather.default", "aten.index.Tensor"});
}

/// Writes some rows of its first argument, as many as its last tensor has, and reads none.
bool scatters(const Node& node) {
  return is_one_of(node.target(),
                   {"aten.index_copy_.default", "aten.index_put_.default", "aten.copy_.default"});
}

Node* first_tensor(const Node& node) {
  if (node.args().empty()) return nullptr;
  Node* const* first = node.args()[0].get_if<Node*>();
  return first != nullptr ? *first : nullptr;
}

double bytes_of_results(const Node& node) {
  double bytes = 0;
  for (const Value& v : node.values()) bytes += distinct_bytes(v.type);
  return bytes;
}

std::vector<Node*> operands(const Node& node) {
  std::vector<Node*> found;
  const auto add = [&found](Node* n) {
    if (std::find(found.begin(), found.end(), n) == found.end()) found.push_back(n);
  };
  for (const Arg& a : node.args()) for_each_node(a, add);
  for (const auto& [key, a] : node.kwargs()) for_each_node(a, add);
  return found;
}

double source_bytes(const Node& node) {
  const std::vector<Node*> all = operands(node);
  return all.empty() ? 0 : bytes_of_results(*all.back());
}

/// Bytes that `node` moves to and from `operand`, which it has as an argument.
double traffic(const Node& node, const Node& operand) {
  if (&operand == first_tensor(node)) {
    if (gathers(node)) return std::min(bytes_of_results(node), bytes_of_results(operand));
    if (scatters(node)) return source_bytes(node);
  }
  double bytes = bytes_of_results(operand);
  const auto& writes = node.writes();
  if (std::find(writes.begin(), writes.end(), &operand) != writes.end()) bytes *= 2;
  return bytes;
}

double rows_of(const TensorType& type) {
  return type.sizes.empty() ? 1
                            : static_cast<double>(type.numel()) /
                                  std::max<double>(1, static_cast<double>(type.sizes.back()));
}

/// 2MNK for products, nothing for everything else.
double flops_of(const Node& node) {
  constexpr double kTwo = 2;
  const std::vector<Node*> in = operands(node);
  if (!node.has_tensor() || in.size() < 2 || !in[0]->has_tensor() || !in[1]->has_tensor()) return 0;
  const auto n = static_cast<double>(node.type().numel());
  if (is_one_of(node.target(), {"aten.linear.default", "aten.mm.default", "aten.bmm.default",
                                "aten.matmul.default"})) {
    return in[0]->type().sizes.empty() ? 0
                                       : kTwo * n * static_cast<double>(in[0]->type().sizes.back());
  }
  if (node.is_call("aten.addmm.default") && in.size() > 2) {
    return kTwo * n * static_cast<double>(in[1]->type().sizes.back());
  }
  if (node.is_call("aten.scaled_dot_product_attention.default") && in[1]->type().rank() > 1) {
    const TensorType& q = in[0]->type();
    const auto keys = static_cast<double>(in[1]->type().sizes[in[1]->type().sizes.size() - 2]);
    return kTwo * kTwo * rows_of(q) * keys * static_cast<double>(q.sizes.back());
  }
  if (is_one_of(node.target(), {"aten.conv1d.default", "aten.conv2d.default", "aten.conv3d.default",
                                "aten.convolution.default"})) {
    const TensorType& w = in[1]->type();
    return w.sizes.empty() || w.sizes[0] == 0
               ? 0
               : kTwo * n * static_cast<double>(w.numel()) / static_cast<double>(w.sizes[0]);
  }
  return 0;
}

bool is_launch(const Node& node) {
  return node.kind() == NodeKind::kCallFunction && !is_view(node) &&
         !(node.values().empty() && node.writes().empty());
}

Cost cost_of_operator(const Node& node) {
  Cost cost{0, flops_of(node)};
  for (const Node* operand : operands(node)) cost.bytes += traffic(node, *operand);
  if (node.writes().empty()) cost.bytes += bytes_of_results(node);
  return cost;
}

/// Bytes that the body's operators touch of each placeholder's storage, at most once.
std::map<StorageId, double> touched_bytes(const Graph& body, Cost& cost) {
  std::map<StorageId, double> touched;
  for (const Node* input : body.placeholders()) touched[input->storage()] = 0;
  for (const auto& node : body.nodes()) {
    if (!is_launch(*node)) continue;
    cost.flops += flops_of(*node);
    for (const Node* operand : operands(*node)) {
      for (const Value& v : operand->values()) {
        const auto at = touched.find(v.storage);
        if (at != touched.end()) at->second = std::max(at->second, traffic(*node, *operand));
      }
    }
  }
  return touched;
}

/// Arguments that are views of one block of memory together move no more than that block.
Cost cost_of_fusion(const Node& call, const Graph& body) {
  Cost cost;
  const std::map<StorageId, double> touched = touched_bytes(body, cost);
  const std::vector<Node*> inputs = body.placeholders();
  std::map<StorageId, double> outer;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    outer[call.args()[i].node()->storage()] += touched.at(inputs[i]->storage());
  }
  for (const auto& [storage, bytes] : outer) {
    cost.bytes += std::min(bytes, static_cast<double>(call.graph().storage(storage).nbytes));
  }
  for (const Value& v : call.values()) {
    const auto written = [&v](const Node* w) {
      return w->has_tensor() && w->storage() == v.storage;
    };
    if (std::none_of(call.writes().begin(), call.writes().end(), written)) {
      cost.bytes += distinct_bytes(v.type);
    }
  }
  return cost;
}

}  // namespace

double distinct_bytes(const TensorType& type) {
  if (!type.defined()) return 0;
  auto bytes = static_cast<double>(itemsize(type.dtype));
  for (std::size_t i = 0; i < type.sizes.size(); ++i) {
    if (type.sizes[i] == 0) return 0;
    if (type.strides[i] != 0) bytes *= static_cast<double>(type.sizes[i]);
  }
  return bytes;
}

Cost cost_of(const Node& call) {
  if (!is_launch(call)) return {};
  if (const Graph* body = body_of(call)) return cost_of_fusion(call, *body);
  return cost_of_operator(call);
}

double work_us(const Cost& cost, const Rates& rates) {
  return std::max(cost.bytes / rates.bytes_per_us, cost.flops / rates.flops_per_us);
}

double predicted_us(const Graph& graph, const Rates& rates) {
  double us = 0;
  for (const auto& node : graph.nodes()) {
    if (is_launch(*node)) us += work_us(cost_of(*node), rates) + rates.boundary_us;
  }
  return us;
}

}  // namespace monograph::ir
