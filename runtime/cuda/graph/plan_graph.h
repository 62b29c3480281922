// The plan as one CUDA graph, built node by node, and the same plan launch by launch on a stream.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/cuda/graph/capture_scope.h"
#include "runtime/cuda/graph/work.h"
#include "runtime/plan/plan.h"

namespace monograph::cuda {

/// Where the caller's inputs and outputs and the weights are at the moment, by slot.
struct Ports {
  std::vector<CUdeviceptr> inputs;
  std::vector<CUdeviceptr> outputs;
  std::vector<CUdeviceptr> weights;
  CUdeviceptr of(const Address& a) const {
    switch (a.base) {
      case Address::Base::kInput:
        return inputs[static_cast<std::size_t>(a.slot)] + a.value;
      case Address::Base::kOutput:
        return outputs[static_cast<std::size_t>(a.slot)] + a.value;
      case Address::Base::kWeight:
        return weights[static_cast<std::size_t>(a.slot)] + a.value;
      case Address::Base::kFixed:
        break;
    }
    return a.value;
  }
};

/// Figures of one built graph.
struct GraphReport {
  std::size_t kernel_nodes = 0;
  std::size_t copy_nodes = 0;
  std::size_t fill_nodes = 0;
  std::size_t empty_nodes = 0;
  std::size_t child_graphs = 0;
  std::size_t captured_kernels = 0;  ///< kernels inside child graphs
  std::size_t edges = 0;
  std::size_t programmatic_edges = 0;
  double build_ms = 0;        ///< adding nodes and capturing library calls
  double instantiate_ms = 0;  ///< instantiation and upload
};

/// What edges between kernels that wait for their predecessors by themselves are.
enum class EdgeKind : std::uint8_t {
  kProgrammatic,  ///< the second may start before the first has ended
  kFull,          ///< as all other edges are
};

/// Runs a plan's works in an order that keeps its edges. Not thread-safe. `works` are indexed by
/// launch id and outlive nothing: implementations take them over.
class PlanRunner {
 public:
  virtual ~PlanRunner() = default;
  /// Enqueues one replay. Inputs and outputs may differ from the last call; only what moved is
  /// patched. If patching fails, nothing is launched, and the next call patches everything anew.
  virtual void launch(const Ports& ports, CUstream stream) = 0;
  /// The same, and waits for it; device time of each plan launch, in microseconds, into
  /// `microseconds` by launch id (which has room for them; what belongs to no launch isn't
  /// counted). False, and nothing enqueued, if launches can't be told apart.
  virtual bool launch_timed([[maybe_unused]] const Ports& ports, [[maybe_unused]] CUstream stream,
                            [[maybe_unused]] std::vector<double>& microseconds) {
    return false;
  }
  /// Weights lie elsewhere from the next launch on. Library calls can't move: the caller sees to it
  /// that theirs don't. Fails as `launch` does.
  virtual void rebind(const std::vector<CUdeviceptr>& weights) = 0;
  /// A second graph of the same works over the same memory, with edges of `kind`; library calls'
  /// nodes are cloned, not captured again. `stream` as for build_plan_graph. Null in stream mode.
  virtual std::unique_ptr<PlanRunner> with_edges([[maybe_unused]] EdgeKind kind,
                                                 [[maybe_unused]] CUstream stream) const {
    return nullptr;
  }
  virtual const GraphReport& report() const noexcept = 0;
  /// Node parameters rewritten by the last launch or rebinding; for tests and benchmarks.
  virtual std::size_t patched() const noexcept = 0;
  /// Text of every node and edge; empty in stream mode.
  virtual std::string text() const = 0;
};

/// Edges that can be programmatic: both ends are kernels that support them.
std::size_t count_programmatic(const std::vector<Work>& works,
                               const std::vector<plan::Edge>& edges);

/// Text of every node and edge of the graph that build_plan_graph makes of these.
std::string graph_text(const std::vector<Work>& works, const std::vector<plan::Edge>& edges,
                       EdgeKind kind);

/// Explicit nodes with exactly the plan's edges; those that can be programmatic are of `kind`;
/// library calls captured on `stream` as child graphs, after the plan has run on
/// `stream` as often as they want for warming up. Instantiates and uploads. Library calls must not
/// touch moving addresses (the caller stages those). Nothing else may use the plan's memory
/// meanwhile, nor `stream`. `prepare`, if not empty, enqueues there what each of those runs has to
/// find, such as declared state.
std::unique_ptr<PlanRunner> build_plan_graph(const ContextRef& context, std::vector<Work> works,
                                             const std::vector<plan::Edge>& edges,
                                             const Ports& ports, CUstream stream,
                                             EdgeKind kind = EdgeKind::kProgrammatic,
                                             const std::function<void()>& prepare = {});

/// The same works one after the other on the caller's stream.
std::unique_ptr<PlanRunner> build_plan_stream(const ContextRef& context, std::vector<Work> works,
                                              const Ports& ports);

}  // namespace monograph::cuda
