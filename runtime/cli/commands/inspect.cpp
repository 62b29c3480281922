#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "runtime/base/progress.h"
#include "runtime/cli/command.h"
#include "runtime/cli/options.h"
#include "runtime/cli/session.h"

namespace monograph::cli {
namespace {

std::string spell(std::int64_t bytes) {
  return base::spell_bytes(static_cast<double>(bytes));
}

std::string figures_text(const Figures& f) {
  std::string text = fmt::format(
      "{} nodes, {} launches: {} library calls, {} own kernels ({} of them fusions), {} of "
      "LibTorch's\n",
      f.nodes, f.launches, f.library_calls, f.own_kernels, f.fusions, f.aten_fallbacks);
  text +=
      fmt::format("memory: weights {}, state {}, inputs {}, outputs {}, arena {} (at least {})\n",
                  spell(f.weight_bytes), spell(f.state_bytes), spell(f.input_bytes),
                  spell(f.output_bytes), spell(f.arena_bytes), spell(f.arena_lower_bound));
  constexpr double kGiga = 1e9;
  return text + fmt::format(
                    "a replay moves {} and computes {:.2f} GFLOP in matrix products; predicted: "
                    "{:.1f} us on one H200, {:.1f} us on one H100\n",
                    base::spell_bytes(f.bytes), f.flops / kGiga, f.predicted_us,
                    f.predicted_us_h100);
}

std::string ops_text(const Figures& f) {
  std::string text = "operators (* runs as LibTorch's kernel)\n";
  for (const auto& [target, calls] : f.ops) {
    text += fmt::format("  {:>5} {}{}\n", calls, target, f.fallbacks.contains(target) ? " *" : "");
  }
  return text;
}

std::string launches_text(const Figures& f, bool all) {
  std::string text;
  for (const LaunchLine& l : f.lines) {
    if (!all && l.kind != "aten") continue;
    text +=
        fmt::format("  {:<28} {:<36} {:<8} {:<24} {:>9} {:>8.2f} us  {}\n", l.node, l.target,
                    l.kind, l.implementation, base::spell_bytes(l.bytes), l.predicted_us, l.reason);
  }
  return text;
}

void inspect_model(const Request& request, bool all, Outcome& outcome) {
  const auto opened = open_model(request, outcome);
  if (!opened) return;
  const Program& program = opened->program();
  say(outcome, fmt::format("{}: {} nodes traced\ninputs\n{}outputs\n{}", opened->loaded.kind,
                           program.nodes_traced(), signature_text(program.inputs(), "in"),
                           signature_text(program.outputs(), "out")));
  const Figures f = report_figures(*opened, outcome);
  say(outcome, figures_text(f) + ops_text(f));
  if (all) say(outcome, "launches\n" + launches_text(f, true));
  const bool host = opened->device.backend == "host";
  if (!all && !host && f.aten_fallbacks > 0) {
    say(outcome, "LibTorch's kernels, and why no own one\n" + launches_text(f, false));
  }
  for (const std::string& line : f.expanded) {
    say(outcome, line + "\n");
  }
  if (!request.dump.empty()) (void)build(*opened);
}

std::function<int()> define_inspect(CLI::App& app) {
  const auto request = std::make_shared<Request>();
  const auto all = std::make_shared<bool>(false);
  add_model_options(app, *request);
  app.add_flag("--launches", *all, "list every launch: what carries it out, and why");
  return [request, all] {
    request->structure_only = request->save.empty() && request->dump.empty();
    return conclude(*request, [&](Outcome& outcome) { inspect_model(*request, *all, outcome); });
  };
}

const RegisterCommand kInspect(
    {"inspect", 1, "says what is in a model and how it would run, without running it",
     "  monograph inspect model.pt2\n"
     "  monograph inspect llama-3.1-8b --dtype bf16 --device virtual --json -\n"
     "  monograph inspect bert-base --device virtual --launches\n",
     define_inspect});

}  // namespace
}  // namespace monograph::cli
