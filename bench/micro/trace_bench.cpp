// What checking and dumping cost.
//
//   trace_bench [rounds]         tracing MiniLM with all checks, against eager forwards, and its
//                                capture with a dump, against one without; exits with 1 beyond
//                                3 eager forwards + 50 ms, and beyond twice the capture
//   trace_bench replay HOW N     N replays of an MLP that was traced with HOW = on | off (checks)
//   or
//                                dump, for counting instructions
//                                (bench/micro/count_replay_instructions)
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
#include <filesystem>
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

/// Capturing MiniLM, each time anew, without a dump and with one, interleaved. True if a dump costs
/// no more than the capture itself.
bool measure_dump(int rounds) {
  monograph::bench::BertSentenceEncoder model{monograph::bench::BertConfig()};
  model->eval();
  for (at::Tensor& p : model->parameters()) p.set_requires_grad(false);
  const monograph::Module module = monograph::make_module<2>(model, {"input_ids", "mask"});
  const Tensors inputs = {at::randint(30522, {1, 32}, at::kLong), at::ones({1, 32}, at::kLong)};
  const auto folder = std::filesystem::temp_directory_path() / "monograph_trace_bench_dumps";
  std::vector<double> plain, dumped;
  for (int i = 0; i < rounds; ++i) {
    for (const bool dump : {false, true}) {
      std::filesystem::remove_all(folder);
      monograph::Options options;
      options.backend = "host";
      if (dump) options.dump_path = folder.string();
      monograph::CompiledModule compiled(module, options);
      (dump ? dumped : plain).push_back(median_ms(1, [&] { (void)compiled.prepare(inputs); }));
    }
  }
  std::filesystem::remove_all(folder);
  const auto median = [](std::vector<double> v) {
    std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
    return v[v.size() / 2];
  };
  const double without = median(plain), with = median(dumped);
  std::printf("capture of MiniLM: %.1f ms, with a dump %.1f ms, %.2f times (limit 2)   %s\n",
              without, with, with / without, with <= 2 * without ? "ok" : "TOO SLOW");
  return with <= 2 * without;
}

int replay(std::string_view how, int calls) {
  at::set_num_threads(1);
  monograph::bench::Mlp mlp(4, 64);
  monograph::Options options;
  options.backend = "host";
  options.check_twice = how == "on";
  options.guard_weights = how == "on";
  const auto folder = std::filesystem::temp_directory_path() / "monograph_trace_bench_dumps";
  if (how == "dump") options.dump_path = folder.string();
  monograph::CompiledModule compiled(monograph::make_module<1>(mlp), options);
  const Tensors inputs = {at::randn({1, 64})};
  Tensors outputs = compiled(inputs);
  for (int i = 0; i < calls; ++i) compiled(inputs, outputs);
  std::filesystem::remove_all(folder);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::string_view(argv[1]) == "replay") {
    return replay(argv[2], std::atoi(argv[3]));
  }
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 9;
  bool good = true;
  for (const auto& [batch, tokens] : {std::pair(1, 32), std::pair(1, 128), std::pair(32, 32)}) {
    good = measure(batch, tokens, rounds) && good;
  }
  good = measure_dump(rounds) && good;
  return good ? 0 : 1;
}
