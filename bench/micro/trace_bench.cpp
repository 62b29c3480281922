// What checking and dumping cost.
//
//   trace_bench [rounds]         tracing MiniLM with all checks, against eager forwards, and its
//                                capture with a dump, against one without, interleaved: medians
//                                and quartiles; exits with 1 beyond 3 eager forwards + 50 ms, and
//                                beyond twice the capture
//   trace_bench replay HOW N     N replays of an MLP that was traced with HOW = on | off (checks)
//                                or dump, for counting instructions
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
double milliseconds(Fn&& fn) {
  const auto start = Clock::now();
  fn();
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// Times of one thing over all rounds.
struct Times {
  std::vector<double> ms;
  double quantile(double q) const {
    std::vector<double> sorted = ms;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1) + 0.5)];
  }
  double median() const { return quantile(0.5); }
};

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
  // Interleaved, so that whatever else the machine does falls on all three alike.
  Times forward;
  Times once;
  Times checked;
  for (int i = 0; i < rounds; ++i) {
    forward.ms.push_back(milliseconds(eager));
    once.ms.push_back(milliseconds([&] { trace(module, inputs, false); }));
    checked.ms.push_back(milliseconds([&] { trace(module, inputs, true); }));
  }
  const double limit = kForwards * forward.median() + kMilliseconds;
  std::printf("MiniLM %2ld x %-3ld", static_cast<long>(batch), static_cast<long>(tokens));
  for (const auto& [name, t] : {std::pair("eager", &forward), std::pair("one recording", &once),
                                std::pair("all checks", &checked)}) {
    std::printf("  %s %6.1f ms (%.1f-%.1f)", name, t->median(), t->quantile(0.25),
                t->quantile(0.75));
  }
  std::printf("  limit %6.1f ms  %s\n", limit, checked.median() <= limit ? "ok" : "TOO SLOW");
  return checked.median() <= limit;
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
      (dump ? dumped : plain).push_back(milliseconds([&] { (void)compiled.prepare(inputs); }));
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
