// What optimising a graph costs, pass by pass and in all, on recorded models.
//
//   passes_bench [GRAPH.txt...] [Google Benchmark's options]
#include <benchmark/benchmark.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "capture/ir/text.h"
#include "capture/ir/verify.h"
#include "capture/passes/pass.h"

namespace monograph::passes {
namespace {

namespace fs = std::filesystem;

/// Agrees to keep any constant without computing it: what is timed are the passes.
class Agreeable final : public ConstantEvaluator {
 public:
  std::optional<std::vector<FoldedConstant>> evaluate(const ir::Node& node) override {
    if (node.values().size() != 1) return std::nullopt;
    const ir::Value& v = node.values().front();
    return std::vector<FoldedConstant>{
        {"folded_" + std::to_string(made_++), v.type, v.type.storage_extent()}};
  }

 private:
  int made_ = 0;
};

ir::Graph read(const fs::path& file) {
  std::ifstream in(file);
  return ir::parse(std::string(std::istreambuf_iterator<char>(in), {}));
}

void optimise(ir::Graph& graph, const std::vector<std::string>& names) {
  Agreeable evaluator;
  PassContext context;
  context.constants = &evaluator;
  run_passes(graph, names, context);
}

void pipeline(benchmark::State& state, const fs::path& file,
              const std::vector<std::string>& names) {
  const ir::Graph traced = read(file);
  for (auto _ : state) {
    state.PauseTiming();
    ir::Graph graph = traced.clone();
    state.ResumeTiming();
    optimise(graph, names);
  }
  state.counters["nodes"] = static_cast<double>(traced.size());
  state.counters["us_per_node"] = benchmark::Counter(
      static_cast<double>(traced.size()) / 1e6,
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

/// The `place`-th pass of the fused list, on the graph that the ones before it leave.
void one_pass(benchmark::State& state, const fs::path& file, std::size_t place) {
  const auto& names = fused_pipeline();
  ir::Graph before = read(file);
  optimise(before, {names.begin(), names.begin() + static_cast<std::ptrdiff_t>(place)});
  for (auto _ : state) {
    state.PauseTiming();
    ir::Graph graph = before.clone();
    state.ResumeTiming();
    optimise(graph, {names[place]});
  }
}

void parsing(benchmark::State& state, const fs::path& file) {
  const std::string text = ir::text(read(file));
  for (auto _ : state) benchmark::DoNotOptimize(ir::parse(text));
  state.SetBytesProcessed(static_cast<std::int64_t>(text.size()) * state.iterations());
}

void verifying(benchmark::State& state, const fs::path& file) {
  const ir::Graph graph = read(file);
  for (auto _ : state) ir::verify(graph);
}

void add(const fs::path& file) {
  const std::string name = file.stem().string();
  const auto in_ms = [](benchmark::internal::Benchmark* b) { b->Unit(benchmark::kMillisecond); };
  in_ms(benchmark::RegisterBenchmark((name + "/parse").c_str(), parsing, file));
  in_ms(benchmark::RegisterBenchmark((name + "/verify").c_str(), verifying, file));
  in_ms(benchmark::RegisterBenchmark((name + "/default_pipeline").c_str(), pipeline, file,
                                     default_pipeline()));
  in_ms(benchmark::RegisterBenchmark((name + "/fused_pipeline").c_str(), pipeline, file,
                                     fused_pipeline()));
  for (std::size_t i = 0; i < fused_pipeline().size(); ++i) {
    const std::string pass = name + "/" + std::to_string(i) + "_" + fused_pipeline()[i];
    in_ms(benchmark::RegisterBenchmark(pass.c_str(), one_pass, file, i));
  }
}

}  // namespace
}  // namespace monograph::passes

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  std::vector<std::string> files(argv + 1, argv + argc);
  if (files.empty())
    files = {MONOGRAPH_GRAPHS "/bert_base_explicit.txt", MONOGRAPH_GRAPHS "/llama_1b_explicit.txt"};
  for (const std::string& file : files) {
    if (!std::filesystem::exists(file)) {
      std::fprintf(stderr, "error: there is no graph %s\n", file.c_str());
      return 1;
    }
    monograph::passes::add(file);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
