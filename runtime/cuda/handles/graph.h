// Graphs and executable graphs.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "runtime/cuda/handles/handle.h"

namespace monograph::cuda {

class GraphExec;

/// One edge of a graph.
struct GraphEdge {
  CUgraphNode from, to;
  CUgraphEdgeData data;
};

/// A graph under construction.
///
/// States and legal transitions (anything else throws Error(kInvalidState)):
///   empty     -> building   create
///   building  -> building   add_node, add_dependencies, instantiate, every query
///   building  -> capturing  begin_capture
///   capturing -> building   end_capture that succeeds
///   capturing -> broken     end_capture that fails: the driver has destroyed the graph
/// Destroying a capturing graph ends the capture first, so that the stream is usable again.
/// Nodes are owned by the graph. Destruction does not touch executable graphs made from it.
class Graph : public Handle<Graph, CUgraph> {
 public:
  static constexpr const char* kName = "graph";
  enum class State : unsigned char { kBuilding, kCapturing, kBroken };

  Graph() = default;
  Graph(Graph&& other) noexcept;
  Graph& operator=(Graph&& other) noexcept;
  ~Graph();
  static Graph create(ContextRef context);

  /// Adds a node after `dependencies`; `edges` is empty (ordinary edges) or has one entry per
  /// dependency. The driver copies kernel parameters and clones a child graph, so `params` is not
  /// needed afterwards. Reserved fields of `params` must be zero.
  CUgraphNode add_node(CUgraphNodeParams& params, std::span<const CUgraphNode> dependencies = {},
                       std::span<const CUgraphEdgeData> edges = {});
  void add_dependencies(std::span<const CUgraphNode> from, std::span<const CUgraphNode> to,
                        std::span<const CUgraphEdgeData> edges = {});
  /// All nodes, in the driver's order.
  std::vector<CUgraphNode> nodes() const;
  std::vector<GraphEdge> edges() const;
  /// The graph that a child-graph node holds; owned by that node.
  CUgraph child(CUgraphNode node) const;
  CUgraphNodeType type(CUgraphNode node) const;
  /// What a memcpy node copies.
  CUDA_MEMCPY3D copy_params(CUgraphNode node) const;
  /// Writes the driver's dot form to `path`. Needs Feature::kGraphDot.
  void write_dot(const std::string& path, unsigned flags = 0) const;

  /// Work that `stream` is given from now on becomes nodes after `dependencies`.
  void begin_capture(CUstream stream, CUstreamCaptureMode mode,
                     std::span<const CUgraphNode> dependencies = {});
  /// Ends the capture; the driver's refusal (unjoined work, invalidation) is thrown after the
  /// stream has left capture.
  void end_capture();

  /// Makes an executable graph with CUDA_GRAPH_INSTANTIATE_FLAG_* `flags`. Error(kDeviceFault)
  /// names the driver's reason (cycle, more than one context, unsupported node).
  GraphExec instantiate(unsigned long long flags = 0) const;

  State state() const noexcept { return state_; }

 private:
  friend class Handle;
  using Handle::Handle;
  static void destroy(const Driver& driver, CUgraph raw) noexcept;
  void need(State state, const char* operation) const;
  void abandon_capture() noexcept;

  State state_ = State::kBuilding;
  CUstream capturing_ = nullptr;
};

/// An executable graph.
///
/// States: empty; ready (instantiated); uploaded (its resources are on the device); launched.
/// Launch is legal from every non-empty state (it uploads if needed). Parameter updates are legal
/// between launches and take effect at the next one; a launch in flight keeps the old values. A
/// failed whole-graph update leads to `stale`, where only destruction is legal: instantiate again.
/// One launch runs at a time: the driver queues a second behind the first. The driver defers
/// destruction while work is in flight; buffers and kernels the graph uses are the caller's to
/// keep.
class GraphExec : public Handle<GraphExec, CUgraphExec> {
 public:
  static constexpr const char* kName = "executable graph";
  enum class State : unsigned char { kReady, kUploaded, kLaunched, kStale };

  GraphExec() = default;
  void upload(CUstream stream);
  void launch(CUstream stream);

  /// New parameters for one node, named by the node of the graph that this was instantiated from.
  void set_params(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v2& params);
  void set_params(CUgraphNode node, const CUDA_MEMCPY3D& params);
  void set_params(CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS& params);
  /// Takes over all parameters of `graph`, which must have the same topology. False, with the
  /// driver's reason in `reason`, if it can't; the state is `stale` then.
  bool update(const Graph& graph, std::string* reason = nullptr);
  /// Switches a kernel, memcpy or memset node on or off. Needs Feature::kNodeEnable.
  void set_enabled(CUgraphNode node, bool enabled);
  bool enabled(CUgraphNode node) const;

  State state() const noexcept { return state_; }

 private:
  friend class Handle;
  friend class Graph;
  using Handle::Handle;
  static void destroy(const Driver& driver, CUgraphExec raw) noexcept;
  void need_live(const char* operation) const;

  State state_ = State::kReady;
};

}  // namespace monograph::cuda
