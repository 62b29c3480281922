#include "runtime/inspect/bisect.h"

#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <monograph/executable.h>

#include <algorithm>

#include "capture/ir/text.h"
#include "capture/passes/pass.h"
#include "capture/trace/constant_evaluator.h"
#include "capture/trace/pipeline.h"
#include "capture/trace/tracer.h"

namespace monograph::inspect {
namespace {

using Tensors = std::vector<at::Tensor>;

/// Runs `names` over the subject in place.
void run_passes(Subject& s, const std::vector<std::string>& names, const Options& options) {
  trace::TorchConstantEvaluator evaluator(s.weights, options.fold_limit_bytes);
  passes::PassContext context;
  if (options.fold_constants) context.constants = &evaluator;
  passes::run_passes(s.graph, names, context);
}

/// Results of building and replaying a copy; the second replay's, where there is no state.
Tensors replay(const Subject& s, const Options& options, const Tolerance& tolerance,
               std::string& problem) {
  std::vector<NamedTensor> weights;
  const Subject own = copy_of(s);
  for (const auto& [name, tensor] : own.weights) weights.push_back({name, tensor, false});
  Executable executable =
      Executable::build(Program::parse(ir::text(s.graph), std::move(weights), s.inputs), options);
  const Tensors first = executable.replay(s.inputs);
  const auto is_state = [](const ir::Storage& storage) {
    return storage.kind == ir::StorageKind::kState;
  };
  if (std::ranges::any_of(s.graph.storages(), is_state)) return first;  // it moved on
  Tensors second = executable.replay(s.inputs);
  if (const auto d = difference(second, first, tolerance)) {
    problem = "a second replay differs from the first: " + *d;
  }
  return second;
}

/// What is wrong with one stage, nullopt if nothing: a difference, or an exception of its own.
using Check = std::function<std::optional<std::string>(const Subject&)>;

std::optional<std::string> thrown_or(const std::function<std::optional<std::string>()>& work) {
  try {
    return work();
  } catch (const std::exception& e) {
    return std::string("throws ") + e.what();
  }
}

/// What `pass` does to the subject's results.
Check check_pass(const std::string& pass, const Options& options, const Tolerance& tolerance) {
  return [=](const Subject& s) -> std::optional<std::string> {
    const Tensors expected = results_of(s);
    return thrown_or([&] {
      Subject after = copy_of(s);
      run_passes(after, {pass}, options);
      return difference(results_of(after), expected, tolerance);
    });
  };
}

/// What replaying does to them. Parts of a graph need outputs that a plan can bind.
Check check_backend(const Options& options, const Tolerance& tolerance) {
  return [=](const Subject& s) -> std::optional<std::string> {
    const Tensors expected = results_of(s);
    return thrown_or([&]() -> std::optional<std::string> {
      Subject ready = copy_of(s);
      run_passes(ready, {"materialize_outputs"}, options);
      std::string problem;
      const Tensors got = replay(ready, options, tolerance, problem);
      if (!problem.empty()) return problem;
      return difference(got, expected, tolerance);
    });
  };
}

/// A fault that throws must stay one that throws, and one that differs one that differs: otherwise
/// making it small would find another.
bool alike(const std::string& a, const std::string& b) {
  return a.starts_with("throws ") == b.starts_with("throws ");
}

void shrink(Finding& finding, const Subject& failing, const Check& check,
            const BisectSettings& settings) {
  finding.calls = calls_of(failing.graph).size();
  const auto fails = [&](const Subject& part) {
    const auto problem = check(part);
    return problem && alike(*problem, finding.message);
  };
  if (!fails(failing)) {  // only together with what came before: nothing to cut
    finding.reproducer = copy_of(failing);
    return;
  }
  Minified small = minify(copy_of(failing), fails, settings.minify);
  finding.trials = small.trials;
  finding.reproducer = std::move(small.subject);
  if (const auto problem = check(finding.reproducer)) finding.message = *problem;
}

/// The first pass whose result differs from `expected`, with what went into it.
std::optional<Finding> find_pass(Subject& current, const Options& options, const Tensors& expected,
                                 const BisectSettings& settings) {
  const auto& names = trace::pipeline_of(options, current.graph);
  for (std::size_t i = 0; i < names.size(); ++i) {
    Subject before = copy_of(current);
    const auto problem = thrown_or([&] {
      run_passes(current, {names[i]}, options);
      return difference(results_of(current), expected, settings.tolerance);
    });
    if (!problem) continue;
    Finding f;
    f.where = Finding::Where::kPass;
    f.pass = names[i];
    f.number = i;
    f.message = *problem;
    shrink(f, before, check_pass(names[i], options, settings.tolerance), settings);
    return f;
  }
  return std::nullopt;
}

Finding find_backend(const Subject& final, const Options& options, const Tensors& expected,
                     const BisectSettings& settings) {
  Finding f;
  f.backend = options.backend;
  const auto problem = thrown_or([&]() -> std::optional<std::string> {
    std::string replays;
    const Tensors got = replay(final, options, settings.tolerance, replays);
    if (!replays.empty()) return replays;
    return difference(got, expected, settings.tolerance);
  });
  if (!problem) return f;
  f.where = Finding::Where::kBackend;
  f.message = *problem;
  shrink(f, final, check_backend(options, settings.tolerance), settings);
  return f;
}

}  // namespace

Finding bisect(const Subject& subject, const Options& options, const BisectSettings& settings,
               const std::optional<Tensors>& expected) {
  const Tensors by_operator = results_of(subject);
  if (expected) {
    if (const auto d = difference(by_operator, *expected, settings.tolerance)) {
      Finding f;
      f.where = Finding::Where::kTrace;
      f.message = *d;
      f.calls = calls_of(subject.graph).size();
      f.reproducer = copy_of(subject);
      return f;
    }
  }
  const Tensors& want = expected ? *expected : by_operator;
  Subject current = copy_of(subject);
  if (auto found = find_pass(current, options, want, settings)) return std::move(*found);
  return find_backend(current, options, want, settings);
}

Finding bisect(const Module& module, const Tensors& inputs, const Options& options,
               const BisectSettings& settings) {
  auto outcome = trace::checked_record(module, inputs, options);
  if (auto* rejection = std::get_if<Rejection>(&outcome)) throw RejectedError(*rejection);
  auto& recording = std::get<trace::Recording>(outcome);
  const Subject subject{std::move(recording.graph), std::move(recording.weights), inputs};
  const Subject before = copy_of(subject);  // state as it was
  const c10::InferenceMode inference;
  const Tensors expected = module.forward(inputs);
  return bisect(before, options, settings, expected);
}

std::string Finding::to_string() const {
  if (where == Where::kNowhere) {
    return "Every pass and the replay agree with forward within the tolerance.\n";
  }
  std::string s;
  if (where == Where::kTrace) s = "The trace itself differs from forward";
  if (where == Where::kPass)
    s = fmt::format("Pass {} ({} in the pipeline) is at fault", pass, number);
  if (where == Where::kBackend)
    s = fmt::format("Passes are right; back end '{}' is at fault", backend);
  s += ": " + message + "\n";
  if (where != Where::kTrace) {
    s += fmt::format("Smallest part that shows it, {} of {} calls after {} trials:\n",
                     calls_of(reproducer.graph).size(), calls, trials);
  }
  return s + ir::text(reproducer.graph);
}

}  // namespace monograph::inspect
