#include "bench/harness/run.h"

#include <c10/core/ScalarType.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

namespace monograph::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Contenders = std::vector<std::unique_ptr<Contender>>;
using Report = std::function<void(const Progress&)>;

constexpr int kFewestRounds = 9;  // below, no interval has the confidence asked for
constexpr double kMostCalls = 2000;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::unique_ptr<Contender> make_peer(const std::string& name, const ModelEntry& entry,
                                     const ModelOptions& options, const ModelCase& model,
                                     const BenchSettings& settings) {
  if (name == "eager") return make_eager(model);
  if (name == "graphed-eager") return make_graphed_eager(model);
  if (name == "self") {
    return make_monograph(model, "self", settings.options, settings.slowdown);
  }
  return make_python_peer({name, std::string(entry.name), settings.python, settings.peer_script,
                           settings.folder, options});
}

Contenders make_contenders(const ModelEntry& entry, const ModelOptions& options,
                           const ModelCase& model, const BenchSettings& settings) {
  Contenders all;
  all.push_back(make_monograph(model, "monograph", settings.options));
  bool python = false;
  for (const std::string& name : settings.peers) {
    all.push_back(make_peer(name, entry, options, model, settings));
    python = python || !(name == "eager" || name == "graphed-eager" || name == "self");
  }
  if (python) write_case(model, settings.folder);
  return all;
}

// Prepares and checks; who can't take part is marked in its result.
ContenderResult admit(Contender& contender, const Reference& reference, const CudaHarness* cuda) {
  ContenderResult result;
  result.name = contender.name();
  const double before = cuda != nullptr ? cuda->bytes_in_use() : 0;
  const auto begin = Clock::now();
  const auto why_not = contender.prepare();
  contender.prepare_ms = result.prepare_ms = 1e3 * seconds_since(begin);
  result.figures = contender.figures();
  if (cuda != nullptr && !contender.is_process())
    result.figures["device_bytes"] = cuda->bytes_in_use() - before;
  if (why_not) {
    result.status = "missing";
    result.reason = *why_not;
    return result;
  }
  result.check = check_outputs(contender.outputs(), reference);
  result.status = result.check.passed ? "ok" : "wrong";
  result.reason = result.check.reason;
  return result;
}

// Median over short runs, each of fewer calls than a device's queue holds.
double host_time(Contender& contender) {
  constexpr int kRuns = 21, kCalls = 12;
  std::vector<double> times;
  for (int i = 0; i < kRuns; ++i) times.push_back(contender.run(kCalls).host);
  return summarise(std::move(times)).median;
}

// What a contender does in a round.
struct Turn {
  int calls = 0;
  int warm_up = 0;  ///< calls before the clock starts
};

Turn turn_of(Contender& contender, double round_ms) {
  // Others have filled the caches since its last turn; what takes longer doesn't fit into them.
  constexpr double kCacheable = 5e3, kWarmUp = 2e3;  // microseconds
  constexpr int kFewestCalls = 5;
  contender.run(1);
  const double once = contender.run(1).wall;
  const auto calls_in = [once](double us) {
    return static_cast<int>(std::clamp(std::round(us / std::max(once, 1e-3)), 1.0, kMostCalls));
  };
  return {calls_in(1e3 * round_ms),
          once < kCacheable ? std::max(kFewestCalls, calls_in(kWarmUp)) : 0};
}

// The widest interval among the others' ratios to ours.
double widest(const std::vector<ContenderResult>& results) {
  double width = 0;
  for (std::size_t i = 1; i < results.size(); ++i) {
    if (results[i].status != "ok" || results[0].status != "ok") continue;
    const Ratio ratio = compare_rounds(results[0].wall_us, results[i].wall_us);
    width = std::max(width, ratio.high / std::max(ratio.low, 1e-9) - 1);
  }
  return width;
}

// One round, in which everybody runs once, in an order that turns.
void run_round(Contenders& contenders, std::vector<ContenderResult>& results,
               const std::vector<Turn>& turns, const std::vector<std::size_t>& present, int round) {
  for (std::size_t k = 0; k < present.size(); ++k) {
    const std::size_t i = present[(k + static_cast<std::size_t>(round)) % present.size()];
    if (turns[i].warm_up > 0) contenders[i]->run(turns[i].warm_up);
    const Round took = contenders[i]->run(turns[i].calls);
    results[i].wall_us.push_back(took.wall);
    if (took.device) results[i].device_us.push_back(*took.device);
  }
}

void interleave(Contenders& contenders, std::vector<ContenderResult>& results,
                const BenchSettings& settings, const Report& progress) {
  std::vector<std::size_t> present;
  std::vector<Turn> turns(contenders.size());
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    if (results[i].status != "ok") continue;
    present.push_back(i);
    turns[i] = turn_of(*contenders[i], settings.round_ms);
  }
  constexpr int kLook = 20;  // rounds between looks at the precision
  const auto begin = Clock::now();
  for (int round = 0;; ++round) {
    if (round >= kFewestRounds && seconds_since(begin) > settings.most_seconds) break;
    if (round >= settings.rounds) {
      if (settings.precision <= 0 || present.empty()) break;
      if (round % kLook == 0 && widest(results) <= settings.precision) break;
    }
    progress({"rounds", round + 1, std::max(settings.rounds, round + 1)});
    run_round(contenders, results, turns, present, round);
  }
  // Without a device a call is over when it returns, and its time is the wall clock's.
  for (const std::size_t i : present) {
    if (!results[i].device_us.empty()) results[i].host_us = host_time(*contenders[i]);
  }
}

}  // namespace

const std::vector<std::string>& peer_names() {
  static const std::vector<std::string> names{"eager",   "graphed-eager",   "self",
                                              "compile", "reduce-overhead", "max-autotune",
                                              "aoti",    "onnxruntime"};
  return names;
}

ModelResult describe(const ModelEntry& entry, const ModelOptions& options) {
  ModelResult result;
  result.model = entry.name;
  result.dtype = c10::toString(options.dtype);
  result.batch = options.batch;
  result.length = options.length;
  result.layers = options.layers;
  return result;
}

ModelResult bench_model(const ModelEntry& entry, const ModelOptions& options,
                        const BenchSettings& settings, const Report& progress) {
  progress({"building"});
  const ModelCase model = entry.make(options);
  ModelResult result = describe(entry, options);
  result.unit = model.unit;
  result.units_per_call = model.units_per_call;
  result.read_bytes = model.read_bytes;
  result.flop = model.flop;
  progress({"reference"});
  const Reference reference = make_reference(entry, options, model, settings.reference_bytes);
  result.reference = reference.kind;
  Contenders contenders = make_contenders(entry, options, model, settings);
  const CudaHarness* cuda = options.device.is_cuda() ? cuda_harness() : nullptr;
  // Compilers of peers may work side by side, but on a host they would take each other's cores.
  const bool at_once = options.device.is_cuda();
  for (auto& contender : contenders) {
    if (at_once) contender->start();
  }
  for (auto& contender : contenders) {
    progress({"preparing " + contender->name()});
    if (!at_once) contender->start();
    result.contenders.push_back(admit(*contender, reference, cuda));
  }
  interleave(contenders, result.contenders, settings, progress);
  return result;
}

}  // namespace monograph::bench
