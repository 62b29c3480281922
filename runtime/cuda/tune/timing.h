// How long alternatives for one launch take where they will run: as nodes of a graph, on memory
// that the L2 cache doesn't hold.
#pragma once

#include <monograph/error.h>

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "runtime/cuda/graph/plan_graph.h"

namespace monograph::cuda {

/// Memory that every alternative is given, in this order.
struct Operand {
  enum class Role : std::uint8_t {
    kCold,   ///< what a replay streams in, such as weights: launches in turn get copies of their
             ///< own, more than L2 holds
    kWarm,   ///< what the launch before has just made, and results: the same for all
    kState,  ///< zero at first; every launch leaves it zero
  };
  std::size_t bytes = 0;
  Role role = Role::kWarm;
};

/// One way to do the launch. `work` may load or compile what it needs; it is called only if times
/// are wanted, several times, with the addresses of the operands. What it throws counts as "can't".
struct Alternative {
  std::string name;  ///< unique among the alternatives, one line
  std::function<Work(std::span<const CUdeviceptr> operands)> work;
};

/// Microseconds of device time of one launch of `graph`, which runs alternative `name`. Tests give
/// one of their own.
using Stopwatch = std::function<double(const std::string& name, PlanRunner& graph,
                                       const Ports& ports, CUstream stream)>;
/// By a pair of events around the launch.
Stopwatch event_stopwatch(const ContextRef& context);

/// Of one value at least.
double median(std::vector<double> values);

/// Errors after which nothing else can be timed either.
bool is_final(const Error& e);

struct TimingLimits {
  std::size_t most_nodes = 96;   ///< of one graph
  std::size_t least_nodes = 24;  ///< so that the launch of the graph itself doesn't count
  std::size_t most_bytes = std::size_t{3} << 30;  ///< of copies of cold operands
  int rounds = 9;                                 ///< each times every alternative once
  double dropped_above = 1.5;                     ///< times the fastest of the first round
};

struct Timing {
  std::string name;
  double microseconds = 0;  ///< median of the rounds, per launch, its boundary included
  double least = 0, most = 0;
  std::string error;  ///< why there is no time; empty: there is
};

/// Times every alternative on a stream and memory of its own, in turns, so that all see the same
/// clocks. Timings in the order of `alternatives`. Numbers in memory are small normal numbers in
/// f16, bf16 and f32. Throws what allocating or a lost device throws.
std::vector<Timing> time_alternatives(const ContextRef& context,
                                      const std::vector<Operand>& operands,
                                      const std::vector<Alternative>& alternatives,
                                      const Stopwatch& stopwatch, const TimingLimits& limits = {});

}  // namespace monograph::cuda
