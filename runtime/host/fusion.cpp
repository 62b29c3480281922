#include "runtime/host/fusion.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <monograph/error.h>

#include <algorithm>
#include <map>

#include "runtime/plan/plan.h"

namespace monograph::host {
namespace {

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + plan::kAlignment - 1) / plan::kAlignment * plan::kAlignment;
}

bool needs_scratch(const ir::Storage& storage) {
  return storage.kind == ir::StorageKind::kIntermediate;
}

std::int64_t scratch_bytes(const ir::Graph& subgraph) {
  std::int64_t bytes = 0;
  for (const ir::Storage& storage : subgraph.storages()) {
    if (needs_scratch(storage)) bytes += aligned(storage.nbytes);
  }
  return bytes;
}

bool runs(const ir::Node& node) {
  return node.kind() == ir::NodeKind::kCallFunction && !ir::is_view(node);
}

struct Inner {
  std::unique_ptr<Scope> scope;
  std::vector<BoundLaunch> launches;
  // Results that the subgraph leaves in scratch or in an argument, and where they belong.
  std::vector<std::pair<at::Tensor, at::Tensor>> copies;
};

class FusionStep final : public Step {
 public:
  explicit FusionStep(Inner inner) : inner_(std::move(inner)) {}
  void run() override {
    for (BoundLaunch& launch : inner_.launches) launch.step->run();
    for (auto& [from, to] : inner_.copies) to.copy_(from);
  }

 private:
  Inner inner_;
};

struct Place {
  c10::Storage storage;
  std::int64_t byte_offset = 0;
};

/// Where each storage of the subgraph lies: arguments in the caller's tensors, the rest in scratch.
std::map<ir::StorageId, Place> places(const ir::Node& call, const ir::Graph& subgraph,
                                      const std::vector<at::Tensor>& arguments,
                                      std::byte* workspace) {
  std::map<ir::StorageId, Place> out;
  const std::vector<ir::Node*> inputs = subgraph.placeholders();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const at::Tensor& t = arguments.at(i);
    const ir::TensorType& type = inputs[i]->type();
    for (std::size_t d = 0; d < type.sizes.size(); ++d) {
      if (type.sizes[d] > 1 && t.stride(static_cast<std::int64_t>(d)) != type.strides[d]) {
        throw Error(Code::kInvalidGraph,
                    fmt::format("argument {} of {} has other strides than its placeholder %{}", i,
                                call.target(), inputs[i]->name()),
                    call.name());
      }
    }
    const auto itemsize = static_cast<std::int64_t>(t.itemsize());
    out[inputs[i]->storage()] = {t.storage(), (t.storage_offset() - type.offset) * itemsize};
  }
  std::int64_t offset = 0;
  for (const ir::Storage& storage : subgraph.storages()) {
    if (!needs_scratch(storage) || out.contains(storage.id)) continue;
    out[storage.id] = {
        c10::Storage(c10::Storage::use_byte_size_t(), static_cast<std::size_t>(storage.nbytes),
                     c10::DataPtr(workspace + offset, at::kCPU), nullptr, false),
        0};
    offset += aligned(storage.nbytes);
  }
  return out;
}

std::vector<at::Tensor> output_leaves(const ir::Graph& subgraph, Scope& scope) {
  std::vector<at::Tensor> leaves;
  for (const ir::Arg& arg : subgraph.output_node()->args()) {
    ir::for_each_node(arg, [&](const ir::Node* node) {
      for (const at::Tensor& t : scope.of(*node)) leaves.push_back(t);
    });
  }
  return leaves;
}

std::vector<at::Tensor> call_arguments(const ir::Node& call, Scope& outer) {
  std::vector<at::Tensor> out;
  for (const ir::Arg& arg : call.args()) {
    ir::for_each_node(arg, [&](const ir::Node* node) {
      for (const at::Tensor& t : outer.of(*node)) out.push_back(t);
    });
  }
  return out;
}

}  // namespace

std::int64_t fusion_workspace_bytes(const ir::Graph& subgraph) {
  std::int64_t largest = 0;  // scratch of the operators themselves, one after the other
  for (const auto& node : subgraph.nodes()) {
    if (runs(*node)) largest = std::max(largest, choose(*node).workspace_bytes);
  }
  return scratch_bytes(subgraph) + aligned(largest);
}

BoundLaunch bind_fusion(const ir::Node& call, const ir::Graph& subgraph, Scope& outer,
                        std::byte* workspace) {
  auto where = places(call, subgraph, call_arguments(call, outer), workspace);
  Inner inner;
  inner.scope = std::make_unique<Scope>([where = std::move(where)](const ir::Value& value) {
    if (value.storage == ir::kNoStorage) return at::Tensor();
    const Place& place = where.at(value.storage);
    return tensor_over(place.storage, value.type, place.byte_offset);
  });
  std::string allocating;
  for (const auto& node : subgraph.nodes()) {
    if (!runs(*node)) continue;
    BoundLaunch launch = bind_call(*node, *inner.scope, workspace + scratch_bytes(subgraph));
    if (!launch.allocating.empty() && allocating.empty()) {
      allocating = fmt::format("{} ({}: {})", call.name(), call.target(), launch.allocating);
    }
    inner.launches.push_back(std::move(launch));
  }
  const std::vector<at::Tensor> leaves = output_leaves(subgraph, *inner.scope);
  const std::vector<at::Tensor>& results = outer.of(call);
  for (std::size_t i = 0; i < results.size(); ++i) {
    // An argument that was written and is a result too is where it belongs already.
    const bool there = results[i].defined() && results[i].is_alias_of(leaves.at(i)) &&
                       results[i].storage_offset() == leaves.at(i).storage_offset();
    if (results[i].defined() && !there) inner.copies.emplace_back(leaves.at(i), results[i]);
  }
  return {std::make_unique<FusionStep>(std::move(inner)), call.name(), std::move(allocating)};
}

}  // namespace monograph::host
