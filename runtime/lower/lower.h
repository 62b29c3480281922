// From graph to launches: views resolved, outputs bound, each call given to an implementation.
// Sees the IR and the plan's problem, neither torch nor CUDA.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "capture/ir/cost.h"
#include "capture/ir/graph.h"
#include "runtime/plan/plan.h"

namespace monograph::lower {

/// How a launch is carried out.
enum class LaunchKind : std::uint8_t {
  kAten,     ///< LibTorch's own kernel for the node's operator (host, or captured on CUDA)
  kKernel,   ///< one of our kernels, `implementation` names it in the registry
  kLibrary,  ///< cuBLASLt or cuDNN call
  kFusion,   ///< the node's named subgraph, by a generated kernel or op by op
};
std::string_view launch_kind_name(LaunchKind kind) noexcept;  ///< "aten", "kernel", ...

/// One thing to run. `node` stays owned by the graph that was lowered.
struct Launch {
  plan::LaunchId id = -1;
  LaunchKind kind = LaunchKind::kAten;
  const ir::Node* node = nullptr;
  std::string implementation;  ///< registry name, empty for kAten
  std::string reason;          ///< why this implementation, for dumps
  ir::Cost cost;               ///< what it must move and compute at least
  double predicted_us = 0;     ///< its work at the rates given to `lower`, without the boundary
};

/// A back end's say in lowering: how a call is implemented and what scratch it needs.
struct Choice {
  LaunchKind kind = LaunchKind::kAten;
  std::string implementation;
  std::string reason;
  std::int64_t workspace_bytes = 0;
};
using Chooser = std::function<Choice(const ir::Node&)>;

/// Launches in graph order, and the planning problem over storages: buffer id = index here, with
/// `storage_of[buffer]` the IR storage. `outputs[i]` is the node whose tensor is output i.
struct Lowered {
  std::vector<Launch> launches;
  plan::Problem problem;
  std::vector<ir::StorageId> storage_of;
  std::vector<plan::BufferId> buffer_of;  ///< by storage id; -1 if unused
  std::vector<const ir::Node*> inputs;    ///< placeholders in order
  std::vector<const ir::Node*> outputs;   ///< flattened leaves of the output node, tensors only
  ir::Cost cost;                          ///< sum over all launches
  double predicted_us = 0;                ///< the same, with a boundary for each launch
};

/// Lowers a verified graph in which every output leaf is a node whose tensor owns its whole
/// storage row-major and exclusively (pass materialize_outputs sees to that); such storages
/// become output buffers. Throws Error(kInvalidGraph) naming the node otherwise. Times are
/// predicted for a device of `rates`.
Lowered lower(const ir::Graph& graph, const Chooser& choose, const ir::Rates& rates = {});

/// One line per launch: name, operator or fusion, how it is carried out, bytes, predicted µs.
std::string cost_table(const Lowered& lowered);

std::string text(const Lowered& lowered);

}  // namespace monograph::lower
