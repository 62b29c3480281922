#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "runtime/cli/command.h"
#include "runtime/cli/options.h"
#include "runtime/cli/session.h"

namespace monograph::cli {
namespace {

void run(const Request& request, Outcome& outcome) {
  const auto opened = open_model(request, outcome);
  if (!opened) return;
  Executable executable = build(*opened);
  report_figures(*opened, outcome);
  Tensors outputs;
  const double ms = median_ms(executable, opened->loaded.inputs, request.repeat, outputs);
  outcome.report["replay_ms"] = ms;
  say(outcome, signature_text(opened->program().outputs(), "out"));
  say(outcome, fmt::format("{} launches, {:.3f} ms\n", executable.report().launches, ms));
  if (!request.output.empty()) write_outputs(request.output, outputs);
  if (!request.compare.empty()) {
    note_difference(outputs, read_outputs(request.compare), request, request.compare, outcome);
  } else if (opened->loaded.expected) {
    note_difference(outputs, *opened->loaded.expected, request, "expected.safetensors", outcome);
  }
  if (outcome.report["max_abs_diff"].is_number()) {
    say(outcome,
        fmt::format("largest difference {:.3g}\n", outcome.report["max_abs_diff"].get<double>()));
  }
}

std::function<int()> define_run(CLI::App& app) {
  const auto request = std::make_shared<Request>();
  add_model_options(app, *request);
  add_result_options(app, *request);
  return
      [request] { return conclude(*request, [&](Outcome& outcome) { run(*request, outcome); }); };
}

const RegisterCommand kRun(
    {"run", 0, "replays a model once and shows its results",
     "  monograph run model.pt2 --input in.safetensors --output out.safetensors\n"
     "  monograph run model.pt2 --input ids=ids.npy --compare expected.safetensors\n"
     "  monograph run reproducer/           # IR text and inputs, as 'verify --bisect' writes "
     "them\n"
     "  monograph run llama-3.2-1b --layers 2 --dtype bf16 --device virtual\n",
     define_run});

}  // namespace
}  // namespace monograph::cli
