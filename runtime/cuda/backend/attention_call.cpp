#include "runtime/cuda/backend/attention_call.h"

#include <monograph/error.h>

#include <map>
#include <optional>
#include <string_view>
#include <vector>

namespace monograph::cuda {
namespace {

constexpr std::string_view kFusionPrefix = "fusion.";
constexpr const char* kAttention = "aten.scaled_dot_product_attention.default";

/// The attention and the one call after it, which copies its result; null if there is more.
struct Parts {
  const ir::Node* attention = nullptr;
  const ir::Node* copy = nullptr;
};
std::optional<Parts> parts_of(const ir::Graph& body) {
  Parts p;
  for (const auto& node : body.nodes()) {
    if (node->kind() != ir::NodeKind::kCallFunction || ir::is_view(*node)) continue;
    if (node->is_call(kAttention) && p.attention == nullptr) {
      p.attention = node.get();
    } else if (node->is_call("aten.clone.default") && p.attention != nullptr && p.copy == nullptr) {
      p.copy = node.get();
    } else {
      return std::nullopt;
    }
  }
  if (p.attention == nullptr || p.copy == nullptr) return std::nullopt;
  return p;
}

/// Strides of the attention's result within the copy's: the copy looks at a permutation of it.
std::optional<std::vector<std::int64_t>> strides_in_copy(const ir::TensorType& result,
                                                         const ir::TensorType& seen,
                                                         const ir::TensorType& copy) {
  const std::size_t rank = result.sizes.size();
  if (seen.sizes.size() != rank || seen.offset != result.offset || seen.sizes != copy.sizes ||
      seen.dtype != copy.dtype) {
    return std::nullopt;
  }
  std::vector<std::int64_t> strides(rank, -1);
  for (std::size_t i = 0; i < rank; ++i) {
    bool found = false;
    for (std::size_t d = 0; d < rank && !found; ++d) {
      found = strides[d] < 0 && result.sizes[d] == seen.sizes[i] &&
              (result.sizes[d] == 1 || result.strides[d] == seen.strides[i]);
      if (found) strides[d] = copy.strides[i];
    }
    if (!found) return std::nullopt;
  }
  return strides;
}

/// Keeps the graph that the call was bound from.
class OwnedCall final : public LibraryCall {
 public:
  OwnedCall(std::unique_ptr<ir::Graph> graph, std::shared_ptr<LibraryCall> call)
      : graph_(std::move(graph)), call_(std::move(call)) {}
  void enqueue(CUstream stream) override { call_->enqueue(stream); }
  int warm_up_runs() const override { return call_->warm_up_runs(); }
  void before_capture(CUstream stream) override { call_->before_capture(stream); }
  void after_capture(CUstream stream) noexcept override { call_->after_capture(stream); }

 private:
  std::unique_ptr<ir::Graph> graph_;
  std::shared_ptr<LibraryCall> call_;  // destroyed first
};

}  // namespace

std::unique_ptr<ir::Graph> attention_alone(const ir::Node& fusion) {
  if (!fusion.target().starts_with(kFusionPrefix) || !fusion.has_tensor()) return nullptr;
  const ir::Graph* body =
      fusion.graph().subgraph(std::string_view(fusion.target()).substr(kFusionPrefix.size()));
  const auto parts = body != nullptr ? parts_of(*body) : std::nullopt;
  if (!parts || !parts->attention->has_tensor() || parts->copy->args().empty() ||
      !parts->copy->args()[0].is_node() || !fusion.type().is_contiguous() ||
      fusion.type().offset != 0) {
    return nullptr;
  }
  const ir::TensorType& copied = parts->copy->type();
  const ir::TensorType& result = parts->attention->type();
  const auto strides = strides_in_copy(result, parts->copy->args()[0].node()->type(), copied);
  if (!strides || !copied.is_contiguous() || copied.numel() != fusion.type().numel()) {
    return nullptr;
  }
  auto graph = std::make_unique<ir::Graph>("attention");
  std::map<const ir::Node*, ir::Node*> map;
  const std::vector<ir::Node*> inputs = body->placeholders();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    map[inputs[i]] = graph->placeholder(inputs[i]->name(), fusion.args()[i].node()->type());
  }
  std::vector<ir::Arg> args;
  for (const ir::Arg& a : parts->attention->args()) {
    if (!a.is_node()) {
      args.push_back(a);
      continue;
    }
    const auto at = map.find(a.node());
    if (at == map.end()) return nullptr;  // a view made inside
    args.emplace_back(at->second);
  }
  for (const auto& [key, a] : parts->attention->kwargs()) {
    if (a.is_node()) return nullptr;
  }
  ir::TensorType type = result;
  type.strides = *strides;
  type.offset = 0;
  graph->call(kAttention, std::move(args), parts->attention->kwargs(),
              ir::Results::tensor(std::move(type)));
  return graph;
}

std::shared_ptr<LibraryCall> bind_attention(const ir::Node& fusion, const AtenProvider& provider,
                                            const StorageAddress& address,
                                            const ContextRef& context,
                                            const std::shared_ptr<AtenShared>& shared) {
  std::unique_ptr<ir::Graph> graph = attention_alone(fusion);
  if (!graph) throw Error(Code::kInternal, "an attention has gone", fusion.name());
  const ir::Node* call = nullptr;
  std::map<ir::StorageId, ir::Value> outer;
  std::size_t next = 0;
  for (const auto& node : graph->nodes()) {
    if (node->kind() == ir::NodeKind::kPlaceholder) {
      outer[node->storage()] = fusion.args()[next++].node()->value();
    } else {
      call = node.get();
      outer[node->storage()] = fusion.value();
    }
  }
  auto bound = provider.bind(
      *call, [&](const ir::Value& v) { return address(outer.at(v.storage)); }, context, shared);
  return std::make_shared<OwnedCall>(std::move(graph), std::move(bound));
}

}  // namespace monograph::cuda
