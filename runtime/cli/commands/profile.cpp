#include "runtime/inspect/profile.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <map>
#include <memory>

#include "capture/ir/cost.h"
#include "runtime/cli/command.h"
#include "runtime/cli/options.h"
#include "runtime/cli/session.h"

namespace monograph::cli {
namespace {

struct ProfileRequest {
  int runs = 30;
  int warm_up = 3;
  std::size_t top = 20;
  std::string trace;
  std::string rates = "auto";
  bool graph_only = false;
};

/// What a GPU can do at best: by its name where that is known.
std::optional<inspect::Ceilings> ceilings_of(const ProfileRequest& how, const Executable& built) {
  std::string name = how.rates;
  if (name == "auto") {
    const std::string device = built.report().backend == "cuda" ? built.dump("device") : "";
    name = device.find("H100") != std::string::npos   ? "h100"
           : device.find("H200") != std::string::npos ? "h200"
                                                      : "";
  }
  if (name.empty()) return std::nullopt;
  const ir::Rates rates = name == "h100" ? ir::Rates::h100() : ir::Rates::h200();
  return inspect::Ceilings{rates.bytes_per_us, rates.flops_per_us};
}

void write(const std::string& path, const std::string& text) {
  std::ofstream out(path);
  out << text;
  out.close();
  if (!out) throw Error(Code::kInvalidFile, path + " can't be written");
}

/// Replays whole graphs, for a profiler outside that reads the NVTX ranges of their nodes.
void replay_graph(const Opened& opened, const ProfileRequest& how, Outcome& outcome) {
  Executable built = Executable::build(opened.program(), opened.loaded.options);
  Tensors outputs;
  (void)median_ms(built, opened.loaded.inputs, how.warm_up, outputs);
  const double ms = median_ms(built, opened.loaded.inputs, how.runs, outputs);
  outcome.report["replay_ms"] = ms;
  say(outcome, fmt::format("{} replays of the whole graph, {:.3f} ms each\n", how.runs, ms));
}

void profile_model(const Request& request, const ProfileRequest& how, Outcome& outcome) {
  auto opened = open_model(request, outcome);
  if (!opened) return;
  report_figures(*opened, outcome);
  if (how.graph_only) return replay_graph(*opened, how, outcome);
  opened->loaded.options.graph_mode = GraphMode::kNone;
  Executable built = Executable::build(opened->program(), opened->loaded.options);
  inspect::ProfileSettings settings;
  settings.runs = how.runs;
  settings.warm_up = how.warm_up;
  settings.known = ceilings_of(how, built);
  const inspect::Profile profile = inspect::profile(built, opened->loaded.inputs, settings);
  say(outcome, inspect::profile_table(profile, how.top));
  outcome.report["profile"] =
      nlohmann::json::parse(inspect::profile_json(profile, opened->loaded.options.name));
  if (!how.trace.empty()) {
    write(how.trace, inspect::profile_trace(profile, opened->loaded.options.name));
  }
  if (request.dump.empty()) return;
  Times measured_us, predicted_us;
  for (const auto& node : profile.nodes) {
    measured_us[node.node] = node.median_us;
    if (node.floor_us > 0) predicted_us[node.node] = node.floor_us;
  }
  write_dump(built, request.dump, opened->loaded.options.name, measured_us, predicted_us);
}

std::function<int()> define_profile(CLI::App& app) {
  const auto request = std::make_shared<Request>();
  const auto how = std::make_shared<ProfileRequest>();
  add_model_options(app, *request);
  app.add_option("--runs", how->runs, "replays that count")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--warm-up", how->warm_up, "replays before them")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--top", how->top, "launches in the list")->capture_default_str();
  app.add_option("--trace", how->trace, "timeline for Perfetto and chrome://tracing");
  app.add_option("--rates", how->rates, "ceilings of a GPU: h100, h200 or auto")
      ->check(CLI::IsMember({"auto", "h100", "h200"}))
      ->capture_default_str();
  app.add_flag("--whole-graph", how->graph_only,
               "replay whole graphs, for Nsight Systems, which shows each node's NVTX range");
  return [=] {
    return conclude(*request, [&](Outcome& outcome) { profile_model(*request, *how, outcome); });
  };
}

const RegisterCommand kProfile(
    {"profile", 4, "says where the time of a replay goes, launch by launch",
     "  monograph profile minilm --trace minilm.json\n"
     "  monograph profile model.pt2 --dump dumps/     # a page with measured times\n"
     "  nsys profile --cuda-graph-trace=node monograph profile model.pt2 --whole-graph\n",
     define_profile});

}  // namespace
}  // namespace monograph::cli
