// What checking costs.
//
//   trace_bench [rounds]           tracing MiniLM with all checks, against eager forwards; exits
//   with
//                                  1 beyond 3 eager forwards + 50 ms
//   trace_bench replay CHECKS N    N replays of an MLP that was traced with CHECKS = on | off, for
//                                  counting instructions (bench/micro/count_replay_instructions)
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>
#include <monograph/compiled_module.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "bench/models/bert.h"
#include "bench/models/mlp.h"
#include "capture/trace/tracer.h"

namespace {

using Tensors = std::vector<at::Tensor>;
using Clock = std::chrono::steady_clock;

template <class Fn>
double median_ms(int rounds, Fn&& fn) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const auto start = Clock::now();
    fn();
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  return times[static_cast<std::size_t>(rounds / 2)];
}

void trace(const monograph::Module& module, const Tensors& inputs, bool checked) {
  monograph::Options options;
  options.check_twice = checked;
  const auto outcome = monograph::trace::checked_record(module, inputs, options);
  if (const auto* rejection = std::get_if<monograph::Rejection>(&outcome)) {
    std::fprintf(stderr, "%s\n", rejection->to_string().c_str());
    std::exit(2);
  }
}

/// True if within the limit.
bool measure(std::int64_t batch, std::int64_t tokens, int rounds) {
  constexpr double kForwards = 3;
  constexpr double kMilliseconds = 50;
  monograph::bench::BertSentenceEncoder model{monograph::bench::BertConfig()};
  model->eval();
  for (at::Tensor& p : model->parameters()) p.set_requires_grad(false);
  const monograph::Module module = monograph::make_module<2>(model, {"input_ids", "mask"});
  const Tensors inputs = {at::randint(30522, {batch, tokens}, at::kLong),
                          at::ones({batch, tokens}, at::kLong)};
  const auto eager = [&] {
    const c10::InferenceMode mode;
    (void)module.forward(inputs);
  };
  eager();
  trace(module, inputs, true);
  const double forward = median_ms(rounds, eager);
  const double once = median_ms(rounds, [&] { trace(module, inputs, false); });
  const double checked = median_ms(rounds, [&] { trace(module, inputs, true); });
  const double limit = kForwards * forward + kMilliseconds;
  std::printf(
      "MiniLM %2ld x %-3ld  eager %7.1f ms   one recorded forward %7.1f ms   all checks "
      "%7.1f ms   limit %7.1f ms   %s\n",
      static_cast<long>(batch), static_cast<long>(tokens), forward, once, checked, limit,
      checked <= limit ? "ok" : "TOO SLOW");
  return checked <= limit;
}

int replay(bool checked, int calls) {
  at::set_num_threads(1);
  monograph::bench::Mlp mlp(4, 64);
  monograph::Options options;
  options.backend = "host";
  options.check_twice = checked;
  options.guard_weights = checked;
  monograph::CompiledModule compiled(monograph::make_module<1>(mlp), options);
  const Tensors inputs = {at::randn({1, 64})};
  Tensors outputs = compiled(inputs);
  for (int i = 0; i < calls; ++i) compiled(inputs, outputs);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::string_view(argv[1]) == "replay") {
    return replay(std::string_view(argv[2]) == "on", std::atoi(argv[3]));
  }
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 9;
  bool good = true;
  for (const auto& [batch, tokens] : {std::pair(1, 32), std::pair(1, 128), std::pair(32, 32)}) {
    good = measure(batch, tokens, rounds) && good;
  }
  return good ? 0 : 1;
}
