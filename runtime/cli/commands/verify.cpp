#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "runtime/cli/bisecting.h"
#include "runtime/cli/command.h"
#include "runtime/cli/inputs.h"
#include "runtime/cli/options.h"
#include "runtime/cli/session.h"

namespace monograph::cli {
namespace {

Tensors cloned(const Tensors& tensors) {
  Tensors copies;
  for (const at::Tensor& t : tensors) copies.push_back(t.clone());
  return copies;
}

void put_back(const Tensors& into, const Tensors& from) {
  for (std::size_t i = 0; i < into.size(); ++i) into[i].copy_(from[i]);
}

/// One call, by LibTorch and by replay, from the same declared state. On a GPU and on the host a
/// replay writes the module's own memory, which is compared as well; the virtual GPU has copies.
Tensors step(const Opened& opened, Executable& executable, const Tensors& inputs,
             const Request& request, const std::string& what, Outcome& outcome) {
  const c10::InferenceMode inference;
  const Tensors state = state_of(opened.program());
  const Tensors before = cloned(state);
  const Tensors wanted = cloned(opened.loaded.reference(inputs));
  const Tensors after = cloned(state);
  put_back(state, before);
  const Tensors got = executable.replay(inputs);
  note_difference(got, wanted, request, what, outcome);
  if (opened.device.emulated) {
    put_back(state, after);
  } else if (!state.empty()) {
    note_difference(state, after, request, what + ", state", outcome);
  }
  return got;
}

/// Replays on three sets of inputs, and the first again at the end.
void verify(const Request& request, Outcome& outcome) {
  const auto opened = open_model(request, outcome);
  if (!opened) return;
  const Loaded& loaded = opened->loaded;
  Executable executable = build(*opened);
  report_figures(*opened, outcome);
  const Tensors first = step(*opened, executable, loaded.inputs, request, "first call", outcome);
  constexpr std::uint64_t kRounds = 2;
  constexpr std::uint64_t kStride = 0x9e3779b9;
  for (std::uint64_t round = 1; round <= kRounds; ++round) {
    const Tensors inputs =
        redraw(loaded.request, loaded.specs, loaded.inputs, request.seed + round * kStride);
    step(*opened, executable, inputs, request, fmt::format("call {}, other inputs", round + 1),
         outcome);
  }
  Tensors again;
  outcome.report["replay_ms"] = median_ms(executable, loaded.inputs, request.repeat, again);
  if (state_of(opened->program()).empty()) {
    Request exact = request;
    exact.rtol = exact.atol = 0;
    note_difference(again, first, exact, "the first call once more", outcome);
  }
  if (!request.compare.empty()) {
    note_difference(first, read_outputs(request.compare), request, request.compare, outcome);
  }
  if (!request.output.empty()) write_outputs(request.output, first);
  say(outcome, fmt::format("{} launches, {} calls compared, largest difference {:.3g}\n",
                           executable.report().launches, kRounds + 2,
                           outcome.report["max_abs_diff"].get<double>()));
}

std::function<int()> define_verify(CLI::App& app) {
  const auto request = std::make_shared<Request>();
  const auto bisecting = std::make_shared<BisectRequest>();
  const auto bisect = std::make_shared<bool>(false);
  add_model_options(app, *request);
  add_result_options(app, *request);
  app.add_flag("--bisect", *bisect,
               "find the first pass, then the smallest part of the graph, whose results differ");
  add_bisect_options(app, *bisecting);
  return [=] {
    return conclude(*request, [&](Outcome& outcome) {
      if (*bisect) {
        bisect_model(*request, *bisecting, outcome);
      } else {
        verify(*request, outcome);
      }
    });
  };
}

const RegisterCommand kVerify(
    {"verify", 2, "replays on several inputs and compares with LibTorch, operator by operator",
     "  monograph verify model.pt2 --int-range ids=0:30522\n"
     "  monograph verify minilm --device virtual\n"
     "  monograph verify model.pt2 --bisect --reproducer wrong/\n",
     define_verify});

}  // namespace
}  // namespace monograph::cli
