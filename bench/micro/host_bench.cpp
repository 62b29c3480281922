// Host replay against LibTorch's eager InferenceMode in one process, call by call in turns:
// medians and their ratio. `host_bench [rounds]`.
#include <ATen/Parallel.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>
#include <monograph/compiled_module.h>

#include <cstdio>
#include <cstdlib>

#include "bench/minilm/measure.h"
#include "bench/models/mlp.h"

namespace {

void compare_mlp(std::int64_t batch, int rounds) {
  monograph::bench::Mlp mlp(8, 512);
  const at::Tensor x = at::randn({batch, 512});
  monograph::Options options;
  options.backend = "host";
  monograph::CompiledModule compiled(monograph::make_module<1>(mlp), options);
  const std::vector<at::Tensor> inputs = {x};
  std::vector<at::Tensor> outputs = compiled(inputs);
  const auto eager = [&] {
    const c10::InferenceMode mode;
    (void)mlp->forward(x);
  };
  const auto fresh = monograph::bench::compare(
      eager, [&] { (void)compiled(inputs); }, rounds);
  const auto into = monograph::bench::compare(
      eager, [&] { compiled(inputs, outputs); }, rounds);
  for (const auto& [name, c] :
       {std::pair("fresh outputs", fresh), std::pair("into outputs", into)}) {
    std::printf(
        "mlp 8x512 batch %-3ld %-14s eager %8.1f us [%.1f, %.1f]  replay %8.1f us "
        "[%.1f, %.1f]  ratio %.3f\n",
        static_cast<long>(batch), name, c.a.median, c.a.low, c.a.high, c.b.median, c.b.low,
        c.b.high, c.b.median / c.a.median);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 21;
  for (const int threads : {1, at::get_num_threads()}) {
    at::set_num_threads(threads);
    std::printf("threads %d\n", threads);
    for (const std::int64_t batch : {1, 4, 32}) compare_mlp(batch, rounds);
  }
}
