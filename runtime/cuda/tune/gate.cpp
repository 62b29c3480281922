#include "runtime/cuda/tune/gate.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>

#include "kernels/compile/digest.h"
#include "runtime/base/log.h"
#include "runtime/cuda/tune/tuner.h"

namespace monograph::cuda {
namespace {

constexpr std::string_view kProgrammatic = "programmatic edges";
constexpr std::string_view kFull = "full edges";

/// nullopt for what an entry of ours doesn't hold.
std::optional<EdgeKind> winner_of(const TuningEntry& entry) {
  if (entry.timed.size() != 2) return std::nullopt;
  if (entry.winner() == kProgrammatic) return EdgeKind::kProgrammatic;
  if (entry.winner() == kFull) return EdgeKind::kFull;
  return std::nullopt;
}

std::string describe(const TuningEntry& entry) {
  return fmt::format("{}: {:.2f} us a replay, {}: {:.2f}", entry.timed[0].name,
                     entry.timed[0].microseconds, entry.timed[1].name, entry.timed[1].microseconds);
}

}  // namespace

Gate::Gate(ContextRef context, Settings settings)
    : context_(std::move(context)),
      settings_(std::move(settings)),
      cache_(settings_.on ? settings_.directory : "none") {}

std::string Gate::full_key(const GraphProblem& problem) const {
  kernels::Digest digest;
  digest.add(problem.key());
  digest.add(graph_text(problem.works, problem.edges, EdgeKind::kProgrammatic));
  return key_on(*context_, "graph 1 " + digest.hex());
}

GatedGraph Gate::build(GraphProblem problem) {
  const auto make = [&](EdgeKind kind) {
    return build_plan_graph(context_, std::move(problem.works), problem.edges, problem.ports,
                            problem.stream, kind, problem.prepare);
  };
  if (!settings_.on || count_programmatic(problem.works, problem.edges) == 0) {
    return {make(EdgeKind::kProgrammatic), ""};
  }
  const std::string key = full_key(problem);
  if (const auto entry = cache_.find(key)) {
    if (const auto kind = winner_of(*entry))
      return {make(*kind), describe(*entry) + ", remembered"};
  }
  return compare(problem, make(EdgeKind::kProgrammatic), key);
}

GatedGraph Gate::compare(const GraphProblem& problem, std::unique_ptr<PlanRunner> graph,
                         const std::string& key) {
  std::unique_ptr<PlanRunner> full;
  try {
    full = graph->with_edges(EdgeKind::kFull, problem.stream);
    const TuningEntry entry = time(*graph, *full, problem);
    cache_.store(key, entry);
    const bool plain = winner_of(entry) == EdgeKind::kFull;
    return {std::move(plain ? full : graph), describe(entry)};
  } catch (const Error& e) {
    // Replays that are still running use the memory of the plan.
    (void)context_->driver().StreamSynchronize.raw(problem.stream);
    if (is_final(e)) throw;
    base::log(base::LogLevel::kWarning,
              fmt::format("graphs with programmatic and with full edges couldn't be compared, the "
                          "former is taken: {}",
                          e.what()));
    return {std::move(graph), fmt::format("{}, not compared: {}{}{}", kProgrammatic, e.message(),
                                          e.driver_text().empty() ? "" : ": ", e.driver_text())};
  }
}

TuningEntry Gate::time(PlanRunner& programmatic, PlanRunner& full,
                       const GraphProblem& problem) const {
  const Stopwatch watch = settings_.stopwatch ? settings_.stopwatch : event_stopwatch(context_);
  struct Side {
    std::string name;
    PlanRunner* graph;
    std::vector<double> times = {};
  };
  std::array<Side, 2> sides{
      {{std::string(kProgrammatic), &programmatic}, {std::string(kFull), &full}}};
  const auto prepare = [&problem] {
    if (problem.prepare) problem.prepare();
  };
  const Driver& driver = context_->driver();
  // First replays pay for lazy work inside the driver.
  for (const Side& side : sides) {
    prepare();
    side.graph->launch(problem.ports, problem.stream);
    driver.StreamSynchronize(problem.stream);
  }
  for (int round = 0; round < settings_.rounds; ++round) {
    for (std::size_t i = 0; i < sides.size(); ++i) {
      // Neither is always the one that finds what the other has left in caches and clocks.
      Side& side = sides[(i + static_cast<std::size_t>(round)) % sides.size()];
      prepare();
      const double us = watch(side.name, *side.graph, problem.ports, problem.stream);
      if (!std::isfinite(us)) throw Error(Code::kInternal, "the time of a replay is no number");
      side.times.push_back(us);
    }
  }
  driver.StreamSynchronize(problem.stream);
  TuningEntry entry;
  for (const Side& side : sides) entry.timed.push_back({side.name, median(side.times)});
  std::ranges::stable_sort(entry.timed, {}, &TuningEntry::Timed::microseconds);
  return entry;
}

}  // namespace monograph::cuda
