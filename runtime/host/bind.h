// From planned launches to bound steps.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/host/memory.h"
#include "runtime/host/step.h"
#include "runtime/lower/lower.h"

namespace monograph::host {

/// The host's say in lowering: our own kernels where they suit, LibTorch's otherwise.
lower::Choice choose(const ir::Node& node);

/// Bytes that the intermediates of a fusion's subgraph need; they live in its launch's workspace.
std::int64_t fusion_workspace_bytes(const ir::Graph& subgraph);

/// Tensors for the nodes of one graph. Keeps every tensor it made.
class Scope {
 public:
  explicit Scope(std::function<at::Tensor(const ir::Value&)> make) : make_(std::move(make)) {}
  const std::vector<at::Tensor>& of(const ir::Node& node);

 private:
  std::function<at::Tensor(const ir::Value&)> make_;
  std::unordered_map<const ir::Node*, std::vector<at::Tensor>> tensors_;  // looked up only
};

struct BoundLaunch {
  std::unique_ptr<Step> step;
  std::string node;        ///< for errors
  std::string allocating;  ///< "node (op)" if the launch allocates on each run, else empty
};

/// `call` on `node`, a call_function that isn't a view. Throws Error(kRejectedUnsupportedOp) or
/// Error(kInvalidGraph) naming the node.
BoundLaunch bind_call(const ir::Node& node, Scope& scope, std::byte* workspace);

}  // namespace monograph::host
