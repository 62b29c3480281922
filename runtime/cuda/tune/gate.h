// Programmatic edges or full ones: which form of a whole graph a device is faster with.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/cuda/tune/cache.h"
#include "runtime/cuda/tune/timing.h"

namespace monograph::cuda {

/// A graph to be built, as build_plan_graph takes it.
struct GraphProblem {
  std::vector<Work> works;
  std::vector<plan::Edge> edges;
  Ports ports;
  CUstream stream = nullptr;
  /// What times depend on beside nodes, edges, the device and its driver: kernels' sources and the
  /// like. Called only if there is something to compare.
  std::function<std::string()> key;
  /// Enqueues what every replay and every run to warm up has to find, such as declared state.
  /// Empty: nothing.
  std::function<void()> prepare;
};

struct GatedGraph {
  std::unique_ptr<PlanRunner> graph;
  std::string verdict;  ///< which edges it has and both times, for dumps; empty: nothing to choose
};

/// Builds graphs and lets none through that is slower than the same with full edges. Thread-safe.
class Gate {
 public:
  struct Settings {
    bool on = false;           ///< off: edges are programmatic where they can be
    std::string directory;     ///< of the cache; see TuningCache
    Stopwatch stopwatch = {};  ///< empty: event_stopwatch
    int rounds = 9;            ///< each replays both graphs once
  };
  Gate(ContextRef context, Settings settings);

  /// The form that is remembered, or else the faster by the median of rounds on the plan's own
  /// memory, as replays of `problem` run; of two that take the same time, the programmatic one. If
  /// comparing fails, which is warned about, that too. Replays leave what `prepare` undoes. Throws
  /// what build_plan_graph does; of the comparison's errors, a lost device's alone.
  GatedGraph build(GraphProblem problem);

  bool on() const noexcept { return settings_.on; }
  TuningCache& cache() noexcept { return cache_; }
  /// Under which `problem` is remembered.
  std::string full_key(const GraphProblem& problem) const;

 private:
  GatedGraph compare(const GraphProblem& problem, std::unique_ptr<PlanRunner> graph,
                     const std::string& key);
  TuningEntry time(PlanRunner& programmatic, PlanRunner& full, const GraphProblem& problem) const;

  ContextRef context_;
  Settings settings_;
  TuningCache cache_;
};

}  // namespace monograph::cuda
