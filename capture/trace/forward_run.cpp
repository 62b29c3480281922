#include "capture/trace/forward_run.h"

#include <ATen/record_function.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <monograph/region.h>

#include <chrono>
#include <utility>

#include "capture/trace/foreign_work.h"
#include "capture/trace/global_state.h"
#include "capture/trace/inputs.h"
#include "capture/trace/recorder.h"
#include "capture/trace/reject.h"
#include "capture/trace/state_names.h"
#include "capture/trace/storage_guard.h"

namespace monograph::trace {
namespace {

Rejection foreign_work(const std::string& op) {
  Rejection rejection;
  rejection.code = Code::kRejectedForeignThread;
  rejection.op = op;
  rejection.reason = op +
                     " ran on another thread during forward: what other threads do isn't "
                     "recorded, so a replay would miss it";
  rejection.remedy = "do all of forward's work on the calling thread";
  return rejection;
}

Rejection changed_globals(const std::string& what) {
  Rejection rejection;
  rejection.code = Code::kRejectedGlobalState;
  rejection.subject = what;
  rejection.reason = "forward leaves the " + what +
                     " of its thread or process switched to something else: a replay runs no host "
                     "code and would leave it as it is";
  rejection.remedy =
      "switch it outside of forward, or back before forward returns (a guard object)";
  return rejection;
}

Rejection kept_input(const std::string& name) {
  Rejection rejection;
  rejection.code = Code::kRejectedRebinding;
  rejection.subject = name;
  rejection.reason = "forward keeps input '" + name +
                     "' (a member, a global, a task still running holds it): a replay runs no host "
                     "code, so what is kept would never change again";
  rejection.remedy = "keep it outside of forward, or keep a declared state that forward writes";
  return rejection;
}

/// Its own tensors as they are now, under the names that they have now.
Module as_it_is(Module module) {
  if (module.list_tensors) module.tensors = module.list_tensors();
  return module;
}

std::vector<at::Tensor> copies_of(const std::vector<at::Tensor>& tensors) {
  const RecordingPause pause;
  std::vector<at::Tensor> copies;
  for (const at::Tensor& t : tensors) copies.push_back(t.clone());
  return copies;
}

/// What forward did to the host: runs it, gives its outputs to the recorder and drops them. Copies
/// them to `kept` unless that is null.
std::string run_forward(const Module& module, const std::vector<at::Tensor>& inputs,
                        Recorder& recorder, std::vector<at::Tensor>* kept) {
  const GlobalStateScope globals;
  std::string changed;
  try {
    const std::vector<at::Tensor> outputs = module.forward(inputs);
    changed = globals.before().difference(GlobalState::read());
    globals.before().restore();
    if (!recorder.rejection()) recorder.set_outputs(outputs);
    if (kept != nullptr && !recorder.rejection()) *kept = copies_of(outputs);
  } catch (...) {
    if (!recorder.rejection()) throw;
  }
  return changed;
}

}  // namespace

ForwardRuns::ForwardRuns(const Module& module, std::vector<at::Tensor> inputs,
                         const Options& options)
    : module_(as_it_is(module)),
      options_(options),
      inputs_(std::move(inputs)),
      names_(input_names(module, inputs_.size())),
      states_(declare_state(module_, options)),
      every_write_(options.graph_mode == GraphMode::kNone),
      watch_(module) {}

std::variant<Recording, Rejection> ForwardRuns::run(const std::vector<at::Tensor>& inputs,
                                                    Keep keep) {
  const c10::InferenceMode inference;
  return run_on(private_copies(inputs), keep);
}

/// A mask or table that the first forward registers is there for all later ones.
void ForwardRuns::adopt_new_tensors() {
  for (NamedTensor& added : watch_.adopt(module_)) {
    if (names_state(options_, added.name)) states_.insert(module_.tensors.size());
    module_.tensors.push_back(std::move(added));
  }
}

std::variant<Recording, Rejection> ForwardRuns::run_on(std::vector<at::Tensor> copies, Keep keep) {
  StateSnapshot state;
  const ForeignWork foreign;
  const at::RecordFunctionGuard unobserved(false);  // this thread is recorded, not observed
  Recorder recorder(options_.name, module_.tensors, {states_, every_write_, &state, &foreign});
  for (std::size_t i = 0; i < copies.size(); ++i) recorder.add_input(names_[i], copies[i]);
  const auto start = std::chrono::steady_clock::now();
  std::string changed;
  std::string foreign_call;
  std::vector<at::Tensor> outputs;
  {
    const RecordingScope scope(recorder);
    changed = run_forward(module_, copies, recorder, keep == Keep::kResults ? &outputs : nullptr);
    foreign_call = scope.foreign_call();
  }
  const std::chrono::duration<double, std::milli> elapsed =
      std::chrono::steady_clock::now() - start;
  // The first thing that went wrong is the one to name; whatever it is, small weights are put back.
  if (!recorder.rejection() && foreign_call.empty()) recorder.check_after();
  std::vector<StateSum> states;
  if (keep == Keep::kResults) states = state.sums();
  state.restore();
  if (recorder.rejection() || !foreign_call.empty() || !changed.empty()) watch_.put_back();
  if (recorder.rejection()) return *recorder.rejection();
  if (!foreign_call.empty()) return foreign_work(foreign_call);
  if (!changed.empty()) return changed_globals(changed);
  if (std::exchange(first_, false)) adopt_new_tensors();
  at::Tensor now;
  if (auto rejection = watch_.moved(module_, now)) {
    recorder.blame_maker(now, *rejection);
    return std::move(*rejection);
  }
  for (std::size_t i = 0; i < copies.size(); ++i) {
    if (copies[i].use_count() > 1 || copies[i].storage().use_count() > 1) {
      return kept_input(names_[i]);
    }
  }
  auto survivors = recorder.values().survivors();
  return Recording{std::move(recorder.graph()),
                   std::move(recorder.weights()),
                   recorder.values().constant_sums(),
                   std::move(survivors),
                   elapsed.count(),
                   std::move(outputs),
                   std::move(states)};
}

ForwardRuns::Guarded ForwardRuns::run_guarded_at(const std::vector<std::size_t>& positions) {
  const c10::InferenceMode inference;
  const std::vector<at::Tensor> copies = private_copies(inputs_);
  StateSnapshot state;
  const StorageGuard guard(module_, positions);
  Recorder recorder(options_.name, module_.tensors,
                    {states_, every_write_, &state, nullptr, &guard});
  for (std::size_t i = 0; i < copies.size(); ++i) recorder.add_input(names_[i], copies[i]);
  const GlobalStateScope globals;
  const RecordingScope scope(recorder);
  try {
    (void)module_.forward(copies);
  } catch (const c10::Error& e) {
    if (!recorder.rejection() && !StorageGuard::threw(e.what_without_backtrace())) throw;
    const std::string& name = module_.tensors[positions.front()].name;
    if (!recorder.rejection()) return {recorder.stray_write(name), true};
  } catch (...) {
    if (!recorder.rejection()) throw;
  }
  return {recorder.rejection(), false};
}

/// The exception doesn't say whose memory was asked for: guarding fewer and fewer tensors does.
std::optional<Rejection> ForwardRuns::run_guarded() {
  std::vector<std::size_t> suspects;
  for (std::size_t i = 0; i < module_.tensors.size(); ++i) {
    if (!states_.contains(i)) suspects.push_back(i);
  }
  if (suspects.empty()) return std::nullopt;
  Guarded found = run_guarded_at(suspects);
  while (found.stray && suspects.size() > 1) {
    const auto middle = suspects.begin() + static_cast<std::ptrdiff_t>(suspects.size() / 2);
    const std::vector<std::size_t> first(suspects.begin(), middle);
    Guarded in_first = run_guarded_at(first);
    suspects = in_first.stray ? first : std::vector<std::size_t>(middle, suspects.end());
    found = in_first.stray ? std::move(in_first) : run_guarded_at(suspects);
  }
  return found.rejection;
}

}  // namespace monograph::trace
