// Cost of a replay's own path: signature check, locks, outputs; the back end does nothing.
#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sum.h>
#include <benchmark/benchmark.h>
#include <monograph/compiled_module.h>
#include <monograph/executable.h>

#include <memory>
#include <vector>

#include "runtime/exec/backend.h"

namespace {

using monograph::CompiledModule;
using monograph::Executable;
using monograph::Options;
using Tensors = std::vector<at::Tensor>;
namespace exec = monograph::exec;

class NullRunner final : public exec::Runner {
 public:
  void run(const Tensors& inputs, const Tensors& outputs) override {
    benchmark::DoNotOptimize(inputs.data());
    benchmark::DoNotOptimize(outputs.data());
  }
};

const exec::BackendRegistration kNull({
    .name = "null",
    .choose = [](const monograph::ir::Node&) { return monograph::lower::Choice{}; },
    .concurrency = monograph::plan::Concurrency::kSequential,
    .unavailable = {},
    .build = [](const exec::Planned&, const Options&) -> std::unique_ptr<exec::Runner> {
      return std::make_unique<NullRunner>();
    },
});

Options null_options() {
  Options options;
  options.backend = "null";
  return options;
}

monograph::Module sum_of_inputs() {
  monograph::Module module;
  module.forward = [](const Tensors& in) -> Tensors {
    at::Tensor sum = at::sum(in[0]);
    for (std::size_t i = 1; i < in.size(); ++i) sum = at::add(sum, at::sum(in[i]));
    return {sum};
  };
  return module;
}

Tensors inputs_of(std::int64_t count) {
  Tensors inputs;
  for (std::int64_t i = 0; i < count; ++i) inputs.push_back(at::randn({4, 8, 16}));
  return inputs;
}

void compiled_module(benchmark::State& state) {
  CompiledModule compiled(sum_of_inputs(), null_options());
  const Tensors inputs = inputs_of(state.range(0));
  Tensors outputs = {at::empty({})};
  compiled(inputs, outputs);
  for (auto _ : state) compiled(inputs, outputs);
}
BENCHMARK(compiled_module)->Arg(1)->Arg(8)->Arg(32);

void compiled_module_fresh_outputs(benchmark::State& state) {
  CompiledModule compiled(sum_of_inputs(), null_options());
  const Tensors inputs = inputs_of(state.range(0));
  (void)compiled(inputs);
  for (auto _ : state) benchmark::DoNotOptimize(compiled(inputs));
}
BENCHMARK(compiled_module_fresh_outputs)->Arg(8);

void compiled_module_two_shapes(benchmark::State& state) {
  CompiledModule compiled(sum_of_inputs(), null_options());
  const Tensors a = inputs_of(8);
  Tensors b;
  for (const at::Tensor& t : a) b.push_back(t.view({8, 4, 16}));
  Tensors outputs = {at::empty({})};
  for (auto _ : state) {
    compiled(a, outputs);
    compiled(b, outputs);
  }
  state.SetItemsProcessed(2 * state.iterations());
}
BENCHMARK(compiled_module_two_shapes);

void executable(benchmark::State& state) {
  CompiledModule compiled(sum_of_inputs(), null_options());
  const Tensors inputs = inputs_of(state.range(0));
  Executable& built = compiled.prepare(inputs);
  Tensors outputs = {at::empty({})};
  for (auto _ : state) built.replay(inputs, outputs);
}
BENCHMARK(executable)->Arg(1)->Arg(8)->Arg(32);

}  // namespace

BENCHMARK_MAIN();
