#include "bench/harness/command.h"

#include <ATen/Parallel.h>
#include <c10/core/ScalarType.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <monograph/error.h>
#include <monograph/version.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/harness/host.h"
#include "bench/minilm/device.h"
#include "bench/minilm/locate.h"
#include "capture/trace/pipeline.h"

namespace monograph::bench {
namespace {

constexpr int kFailed = 1, kRefused = 3;

at::ScalarType dtype_of(const std::string& name) {
  if (name == "f32") return at::kFloat;
  if (name == "f16") return at::kHalf;
  if (name == "bf16") return at::kBFloat16;
  throw Error(Code::kInvalidOption, fmt::format("--dtype {}: there are f32, f16, bf16", name));
}

void check_peers(const std::vector<std::string>& peers) {
  for (const auto& peer : peers) {
    const auto& known = peer_names();
    if (std::find(known.begin(), known.end(), peer) != known.end()) continue;
    throw Error(Code::kInvalidOption,
                fmt::format("no peer is called '{}'; there are {}", peer, fmt::join(known, ", ")));
  }
}

/// What would be found out when everything has been measured is refused before.
void check_arguments(BenchArguments& a) {
  check_peers(a.settings.peers);
  for (const auto& name : a.models) find_model(name);
  if (a.passes == std::vector<std::string>{"default"}) a.passes.clear();
  Options options;
  options.passes = a.passes;
  trace::check_passes(options);
  for (const auto& file : {a.json, a.csv, a.markdown}) {
    if (file.empty()) continue;
    const bool there = std::filesystem::exists(file);
    if (!std::ofstream(file, std::ios::app)) {
      throw Error(Code::kInvalidFile, fmt::format("{} can't be written", file));
    }
    if (!there) std::filesystem::remove(file);
  }
}

/// One line on a terminal, overwritten; nothing elsewhere.
void show_progress(const std::string& model, const Progress& progress) {
  if (::isatty(STDERR_FILENO) == 0) return;
  constexpr int kWidth = 30;
  std::string bar;
  if (progress.of > 0) {
    const int filled = kWidth * progress.done / progress.of;
    bar = fmt::format(" [{:#<{}}{:.<{}}] {}/{}", "", filled, "", kWidth - filled, progress.done,
                      progress.of);
  }
  fmt::print(stderr, "\r\033[K{}: {}{}", model, progress.what, bar);
  std::fflush(stderr);
}

/// A weight that can't be had makes the model one that wasn't run, by name, and the others go on.
ModelResult bench_or_say_why(const std::string& name, const BenchArguments& a) {
  const ModelEntry& entry = find_model(name);
  const double there = available_memory();
  const double wanted = entry.weight_bytes != nullptr ? 1.1 * entry.weight_bytes(a.model) : 0;
  if (a.model.device.is_cpu() && there > 0 && wanted > there) {
    ModelResult skipped = describe(entry, a.model);
    constexpr double kGiB = 1 << 30;
    ContenderResult& ours = skipped.contenders.emplace_back();
    ours.name = "monograph";
    ours.status = "missing";
    ours.reason = fmt::format("its weights take {:.1f} GiB of memory, {:.1f} GiB are free",
                              wanted / kGiB, there / kGiB);
    return skipped;
  }
  BenchSettings settings = a.settings;
  if (a.model.device.is_cpu() && there > 0) {
    constexpr double kShare = 0.85;  // the rest is for peers
    settings.reference_bytes = std::max(settings.reference_bytes, kShare * (there - wanted));
  }
  return bench_model(entry, a.model, settings,
                     [&name](const Progress& progress) { show_progress(name, progress); });
}

BenchResult run_models(BenchArguments& a, const std::string& command) {
  a.model.dtype = dtype_of(a.dtype);
  check_arguments(a);
  if (a.threads > 0) at::set_num_threads(a.threads);
  const Device device = select_device(a.device);
  a.settings.options = device.options();
  a.settings.options.passes = a.passes;
  for (const std::string& option : a.backend_options) {
    const std::size_t equals = option.find('=');
    a.settings.options.backend_options[option.substr(0, equals)] = option.substr(equals + 1);
  }
  if (a.stream) a.settings.options.graph_mode = GraphMode::kNone;
  const bool gpu = device.backend == "cuda" && !device.emulated;
  if (gpu) {
    constexpr double kBytesOnGpu = 40e9;
    a.model.device = at::Device(at::kCUDA, 0);
    a.settings.reference_bytes = kBytesOnGpu;
  }
  // On a host, other programs take the processor in between: rounds as short as a few calls are
  // mostly left alone, long ones hardly ever.
  if (a.settings.rounds == 0) a.settings.rounds = gpu ? 60 : 400;
  if (a.settings.round_ms == 0) a.settings.round_ms = gpu ? 20 : 0.3;
  std::string why;
  const CudaHarness* cuda = gpu ? cuda_harness(&why) : nullptr;
  if (gpu && cuda == nullptr) throw Error(Code::kDeviceUnavailable, why);
  BenchResult result = blank_result();
  result.command = command;
  result.threads = at::get_num_threads();
  result.device = gpu ? cuda->describe() : device.emulated ? "virtual GPU" : "host";
  result.bytes_per_us = 1e3 * a.bandwidth;
  for (const auto& name : a.models) {
    result.models.push_back(bench_or_say_why(name, a));
    if (::isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\033[K");
  }
  result.clocks = clocks_text() + ", before: " + result.clocks;
  return result;
}

int exit_code(const BenchResult& result) {
  int code = 0;
  for (const auto& model : result.models) {
    const ContenderResult& ours = model.contenders.front();
    if (ours.status == "ok") continue;
    code = std::max(code, ours.reason.starts_with("refused") ? kRefused : kFailed);
  }
  return code;
}

}  // namespace

int run_bench(BenchArguments& a, const std::string& command) {
  const BenchResult result = run_models(a, command);
  fmt::print("{}", to_markdown(result));
  if (!a.json.empty()) write_text(a.json, to_json(result).dump(1) + "\n");
  if (!a.csv.empty()) write_text(a.csv, to_csv(result));
  if (!a.markdown.empty()) write_text(a.markdown, to_markdown(result));
  return exit_code(result);
}

int compare_files(const std::string& before, const std::string& after) {
  const Comparison comparison = compare_results(read_result(before), read_result(after));
  fmt::print("{}", comparison.text);
  return comparison.worse ? kFailed : 0;
}

int render_files(const std::vector<std::string>& files) {
  for (const auto& file : files) fmt::print("{}\n", to_markdown(read_result(file)));
  return 0;
}

void list_models() {
  for (const auto& entry : models()) fmt::print("{:14} {}\n", entry.name, entry.description);
}

std::string spell_command(const std::string& program, int argc, const char* const* argv) {
  std::string command = program;
  for (int i = 1; i < argc; ++i) command += " " + std::string(argv[i]);
  return command;
}

void define_bench(CLI::App& app, BenchArguments& a) {
  a.settings.peers = {"eager", "graphed-eager"};
  a.settings.folder = "build/bench";
  a.settings.peer_script = find_peer_script();
  a.settings.python = find_python("");
  app.add_option("MODEL", a.models, "built-in models by name");
  app.add_option("--device", a.device, "auto, host, virtual or cuda")
      ->check(CLI::IsMember({"auto", "host", "virtual", "cuda"}))
      ->capture_default_str();
  app.add_option("--dtype", a.dtype, "f32, f16 or bf16")->capture_default_str();
  app.add_option("--batch", a.model.batch)->check(CLI::Range(1, 4096))->capture_default_str();
  app.add_option("--length", a.model.length, "tokens, or positions of the cache")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--layers", a.model.layers, "cuts the model to so many layers")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--seed", a.model.seed, "of weights and inputs");
  app.add_option("--peers", a.settings.peers,
                 "of " + fmt::format("{}", fmt::join(peer_names(), ", ")))
      ->delimiter(',');
  app.add_option("--passes", a.passes,
                 "ours: default, fused, or names with commas (default: what the device wants)")
      ->delimiter(',');
  app.add_option("--option", a.backend_options, "ours: a back end's NAME=VALUE, e.g. cuda.gate=on")
      ->check([](const std::string& text) {
        return text.find('=') == std::string::npos ? "NAME=VALUE expected, not " + text : "";
      });
  app.add_flag("--stream", a.stream, "ours: launch by launch, no graph");
  a.settings.rounds = 0;
  a.settings.round_ms = 0;
  app.add_option("--rounds", a.settings.rounds, "at least (default: 400, on a GPU 60)")
      ->check(CLI::Range(1, 100000));
  app.add_option("--round-ms", a.settings.round_ms,
                 "what a contender's round takes, at least one call (default: 0.3, on a GPU 20)")
      ->check(CLI::PositiveNumber);
  app.add_option("--precision", a.settings.precision,
                 "go on until the interval of every ratio is at most so wide, e.g. 0.02");
  app.add_option("--seconds", a.settings.most_seconds, "at most, per model")->capture_default_str();
  app.add_option("--threads", a.threads, "of each contender on the host (default: LibTorch's)")
      ->check(CLI::Range(1, 1024));
  app.add_option("--bandwidth", a.bandwidth, "read ceiling in GB/s, for the floor");
  app.add_option("--python", a.settings.python, "interpreter of Python peers");
  app.add_option("--peer-script", a.settings.peer_script)->capture_default_str();
  app.add_option("--folder", a.settings.folder, "of Python peers' files")->capture_default_str();
  app.add_option("--plant", a.settings.slowdown, "slows 'self' down by this share, as a test");
  app.add_option("--json", a.json, "result file");
  app.add_option("--csv", a.csv, "a line per model and contender");
  app.add_option("--markdown", a.markdown, "the tables that are printed");
}

}  // namespace monograph::bench
