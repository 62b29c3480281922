// monograph_bench: times models on Monograph beside their peers.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <monograph/error.h>
#include <monograph/version.h>
#include <sys/utsname.h>
#include <torch/version.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "bench/harness/run.h"
#include "bench/minilm/device.h"
#include "bench/minilm/locate.h"

namespace monograph::bench {
namespace {

constexpr int kFailed = 1, kUsage = 2, kWrong = 3;

struct Arguments {
  std::vector<std::string> models;
  std::string device = "auto", dtype = "f32";
  ModelOptions model;
  BenchSettings settings;
  std::string json, csv, markdown;
  std::vector<std::string> compare, render, passes;
  double bandwidth = 0;
  bool stream = false;
  bool list = false;
};

std::string processor() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

std::string host_text() {
  utsname system{};
  ::uname(&system);
  return fmt::format("{}, {} cores, {} {}", processor(), std::thread::hardware_concurrency(),
                     system.sysname, system.release);
}

std::string now() {
  const std::time_t seconds = std::time(nullptr);
  std::array<char, 32> text{};
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%MZ", &parts);
  return text.data();
}

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

// One line on a terminal, overwritten; nothing elsewhere.
void show_progress(const std::string& model, const std::string& what) {
  if (::isatty(STDERR_FILENO) == 0) return;
  fmt::print(stderr, "\r\033[K{}: {}", model, what);
  std::fflush(stderr);
}

BenchResult run_models(Arguments& a, const std::string& command) {
  check_peers(a.settings.peers);
  a.model.dtype = dtype_of(a.dtype);
  for (const auto& name : a.models) find_model(name);
  const Device device = select_device(a.device);
  a.settings.options = device.options();
  a.settings.options.passes = a.passes;
  if (a.stream) a.settings.options.graph_mode = GraphMode::kNone;
  const bool gpu = device.backend == "cuda" && !device.emulated;
  if (gpu) {
    constexpr double kBytesOnGpu = 40e9;
    a.model.device = at::Device(at::kCUDA, 0);
    a.settings.reference_bytes = kBytesOnGpu;
  }
  std::string why;
  const CudaHarness* cuda = gpu ? cuda_harness(&why) : nullptr;
  if (gpu && cuda == nullptr) throw Error(Code::kDeviceUnavailable, why);
  BenchResult result;
  result.command = command;
  result.date = now();
  result.host = host_text();
  result.device = gpu ? cuda->describe() : device.emulated ? "virtual GPU" : "host";
  result.monograph_version = MONOGRAPH_VERSION_STRING;
  result.torch_version = TORCH_VERSION;
  result.bytes_per_us = 1e3 * a.bandwidth;
  for (const auto& name : a.models) {
    result.models.push_back(
        bench_model(find_model(name), a.model, a.settings,
                    [&name](const std::string& what) { show_progress(name, what); }));
    if (::isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\033[K");
  }
  return result;
}

int bench(Arguments& a, const std::string& command) {
  const BenchResult result = run_models(a, command);
  fmt::print("{}", to_markdown(result));
  if (!a.json.empty()) write_text(a.json, to_json(result).dump(1) + "\n");
  if (!a.csv.empty()) write_text(a.csv, to_csv(result));
  if (!a.markdown.empty()) write_text(a.markdown, to_markdown(result));
  for (const auto& model : result.models) {
    for (const auto& contender : model.contenders) {
      if (contender.name == "monograph" && contender.status != "ok") return kWrong;
    }
  }
  return 0;
}

int run(Arguments& a, const std::string& command) {
  if (a.list) {
    for (const auto& entry : models()) fmt::print("{:14} {}\n", entry.name, entry.description);
    return 0;
  }
  if (!a.compare.empty()) {
    fmt::print("{}", compare_results(read_result(a.compare[0]), read_result(a.compare[1])));
    return 0;
  }
  if (!a.render.empty()) {
    for (const auto& file : a.render) fmt::print("{}\n", to_markdown(read_result(file)));
    return 0;
  }
  if (a.models.empty()) {
    fmt::print(stderr, "error: name a model, or --list, --compare or --render\n");
    return kUsage;
  }
  return bench(a, command);
}

void define(CLI::App& app, Arguments& a) {
  a.settings.peers = {"eager", "graphed-eager"};
  a.settings.folder = "build/bench";
  a.settings.peer_script = "bench/peers/peer.py";
  a.settings.python = find_python("");
  app.add_option("models", a.models, "Models by name; see --list");
  app.add_flag("--list", a.list, "Lists the models");
  app.add_option("--device", a.device, "auto, host, virtual or cuda")->capture_default_str();
  app.add_option("--dtype", a.dtype, "f32, f16 or bf16")->capture_default_str();
  app.add_option("--batch", a.model.batch)->check(CLI::Range(1, 4096))->capture_default_str();
  app.add_option("--length", a.model.length, "Tokens, or positions of the cache");
  app.add_option("--layers", a.model.layers, "Cuts the model to so many layers");
  app.add_option("--seed", a.model.seed, "Of weights and inputs");
  app.add_option("--peers", a.settings.peers,
                 "Of " + fmt::format("{}", fmt::join(peer_names(), ", ")))
      ->delimiter(',');
  app.add_option("--passes", a.passes, "Ours: names of passes, or 'fused' (default: the default)")
      ->delimiter(',');
  app.add_flag("--stream", a.stream, "Ours: launch by launch, no graph");
  app.add_option("--rounds", a.settings.rounds)->check(CLI::Range(1, 10000))->capture_default_str();
  app.add_option("--round-ms", a.settings.round_ms, "What a contender's round takes")
      ->capture_default_str();
  app.add_option("--seconds", a.settings.most_seconds, "At most, per model")->capture_default_str();
  app.add_option("--bandwidth", a.bandwidth, "Read ceiling in GB/s, for the floor");
  app.add_option("--python", a.settings.python, "Interpreter of Python peers");
  app.add_option("--peer-script", a.settings.peer_script)->capture_default_str();
  app.add_option("--folder", a.settings.folder, "Of Python peers' files")->capture_default_str();
  app.add_option("--plant", a.settings.slowdown, "Slows 'self' down by this share, as a test");
  app.add_option("--json", a.json, "Result file");
  app.add_option("--csv", a.csv);
  app.add_option("--markdown", a.markdown);
  app.add_option("--compare", a.compare, "Two result files: what changed beyond noise")
      ->expected(2);
  app.add_option("--render", a.render, "Result files as Markdown");
  app.footer("Example: monograph_bench mlp bert-base --peers eager,compile --json result.json");
}

}  // namespace
}  // namespace monograph::bench

int main(int argc, char** argv) {
  using namespace monograph;
  try {
    bench::Arguments arguments;
    CLI::App app("Times models on Monograph beside their peers, interleaved, after a check.",
                 "monograph_bench");
    bench::define(app, arguments);
    CLI11_PARSE(app, argc, argv);
    std::string command;
    for (int i = 0; i < argc; ++i)
      command += (i > 0 ? " " : "") + std::string(i > 0 ? argv[i] : "monograph_bench");
    return bench::run(arguments, command);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return bench::kFailed;
  } catch (...) {
    return bench::kFailed;
  }
}
