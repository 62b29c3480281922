#include "runtime/host/bind.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include <algorithm>

#include "capture/trace/arguments.h"
#include "runtime/host/aten.h"
#include "runtime/host/fusion.h"

namespace monograph::host {
namespace {

constexpr std::string_view kFusionPrefix = "fusion.";

bool is_fusion(const ir::Node& node) {
  return node.target().starts_with(kFusionPrefix);
}

const ir::Graph& subgraph_of(const ir::Node& node) {
  const ir::Graph* graph =
      node.graph().subgraph(std::string_view(node.target()).substr(kFusionPrefix.size()));
  if (graph == nullptr) {
    throw Error(Code::kInvalidGraph, fmt::format("no subgraph for '{}'", node.target()),
                node.name());
  }
  return *graph;
}

Call make_call(const ir::Node& node, Scope& scope, std::byte* workspace) {
  const c10::OperatorHandle op = trace::operator_of(node);
  auto args = trace::bind_arguments(
      node, op.schema(),
      [&scope](const ir::Node& n) -> const std::vector<at::Tensor>& { return scope.of(n); });
  return Call{node, op, std::move(args), scope.of(node), workspace};
}

}  // namespace

const std::vector<at::Tensor>& Scope::of(const ir::Node& node) {
  const auto [it, fresh] = tensors_.try_emplace(&node);
  if (fresh) {
    for (const ir::Value& value : node.values()) it->second.push_back(make_(value));
  }
  return it->second;
}

lower::Choice choose(const ir::Node& node) {
  if (is_fusion(node)) {
    return {lower::LaunchKind::kFusion, "host.fusion", "its subgraph, op by op",
            fusion_workspace_bytes(subgraph_of(node))};
  }
  if (const HostOp* op = find_host_op(node)) {
    return {lower::LaunchKind::kKernel, op->name, "host kernel suits shapes and dtypes",
            op->workspace_bytes ? op->workspace_bytes(node) : 0};
  }
  return {lower::LaunchKind::kAten, "", "LibTorch's CPU kernel", 0};
}

BoundLaunch bind_call(const ir::Node& node, Scope& scope, std::byte* workspace) {
  if (is_fusion(node)) return bind_fusion(node, subgraph_of(node), scope, workspace);
  const Call call = make_call(node, scope, workspace);
  if (const HostOp* op = find_host_op(node)) return {op->bind(call), node.name(), ""};
  AtenStep aten = bind_aten(call);
  std::string allocating;
  if (aten.allocates) allocating = fmt::format("{} ({})", node.name(), node.target());
  return {std::move(aten.step), node.name(), std::move(allocating)};
}

}  // namespace monograph::host
