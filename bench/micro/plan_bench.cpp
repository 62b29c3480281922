// Planning time over the number of launches, for encoder-like graphs: per layer three projections,
// attention with a workspace, residuals, norms and a two-matmul MLP.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "runtime/plan/plan.h"

namespace {

using monograph::plan::Buffer;
using monograph::plan::BufferId;
using monograph::plan::BufferKind;
using monograph::plan::Concurrency;
using monograph::plan::Launch;
using monograph::plan::LaunchId;
using monograph::plan::Plan;
using monograph::plan::Problem;

constexpr std::int64_t kActivation = 128 * 384 * 4;

class Encoder {
 public:
  explicit Encoder(std::int64_t launches) {
    BufferId x = buffer(BufferKind::kInput, kActivation, 0);
    while (static_cast<std::int64_t>(problem_.launches.size()) + 11 < launches) x = layer(x);
    launch({x}, buffer(BufferKind::kOutput, kActivation, 0));
  }
  Problem take() { return std::move(problem_); }

 private:
  BufferId layer(BufferId x) {
    const BufferId q = step({x});
    const BufferId k = step({x});
    const BufferId v = step({x});
    const BufferId projected = step({step({q, k, v}, 1 << 16)});
    const BufferId normed = step({step({x, projected})});
    const BufferId down = step({step({normed}, 0, 4 * kActivation)});
    return step({step({normed, down})});
  }
  BufferId step(std::vector<BufferId> reads, std::int64_t workspace = 0,
                std::int64_t bytes = kActivation) {
    const BufferId out = buffer(BufferKind::kIntermediate, bytes, -1);
    launch(std::move(reads), out, workspace);
    return out;
  }
  BufferId buffer(BufferKind kind, std::int64_t bytes, std::int32_t slot) {
    const auto id = static_cast<BufferId>(problem_.buffers.size());
    problem_.buffers.push_back({id, kind, bytes, slot, "b" + std::to_string(id)});
    return id;
  }
  void launch(std::vector<BufferId> reads, BufferId out, std::int64_t workspace = 0) {
    const auto id = static_cast<LaunchId>(problem_.launches.size());
    problem_.launches.push_back({id, "l" + std::to_string(id), std::move(reads), {out}, workspace});
  }

  Problem problem_;
};

void make_plan(benchmark::State& state, Concurrency mode) {
  const Problem problem = Encoder(state.range(0)).take();
  Plan plan;
  for (auto _ : state) {
    plan = monograph::plan::make_plan(problem, mode);
    benchmark::DoNotOptimize(plan.arena_bytes);
  }
  state.counters["edges"] = static_cast<double>(plan.edges.size());
  state.counters["arena_over_bound"] =
      static_cast<double>(plan.arena_bytes) / static_cast<double>(plan.lower_bound_bytes);
  state.SetComplexityN(state.range(0));
}

BENCHMARK_CAPTURE(make_plan, sequential, Concurrency::kSequential)
    ->RangeMultiplier(4)
    ->Range(64, 65536)
    ->Unit(benchmark::kMillisecond)
    ->Complexity(benchmark::oNLogN);
BENCHMARK_CAPTURE(make_plan, graph, Concurrency::kGraph)
    ->RangeMultiplier(4)
    ->Range(64, 65536)
    ->Unit(benchmark::kMillisecond)
    ->Complexity(benchmark::oNLogN);

}  // namespace
