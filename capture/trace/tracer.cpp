#include "capture/trace/tracer.h"

#include <c10/core/InferenceMode.h>

#include <chrono>
#include <optional>

#include "capture/trace/inputs.h"
#include "capture/trace/recorder.h"
#include "capture/trace/reject.h"
#include "runtime/base/log.h"

namespace monograph::trace {
namespace {

/// Where a weight's memory was before forward.
std::vector<const c10::StorageImpl*> weight_storages(const Module& module) {
  std::vector<const c10::StorageImpl*> storages;
  for (const NamedTensor& weight : module.tensors) {
    const bool has = weight.tensor.defined() && weight.tensor.has_storage();
    storages.push_back(has ? weight.tensor.storage().unsafeGetStorageImpl() : nullptr);
  }
  return storages;
}

std::optional<Rejection> rebound_weight(const Module& module,
                                        const std::vector<const c10::StorageImpl*>& before) {
  const auto after = weight_storages(module);
  for (std::size_t i = 0; i < after.size(); ++i) {
    if (after[i] == before[i]) continue;
    Rejection rejection;
    rejection.code = Code::kRejectedRebinding;
    rejection.subject = module.tensors[i].name;
    rejection.reason = "after forward '" + rejection.subject +
                       "' points to other memory than before: a replay would go on reading the "
                       "memory that it had while tracing";
    rejection.remedy = "assign weights (set_data) outside of forward";
    return rejection;
  }
  return std::nullopt;
}

std::optional<Rejection> foreign_work(const std::string& op) {
  if (op.empty()) return std::nullopt;
  Rejection rejection;
  rejection.code = Code::kRejectedForeignThread;
  rejection.op = op;
  rejection.reason = op +
                     " ran on another thread during forward: what other threads do isn't "
                     "recorded, so a replay would miss it";
  rejection.remedy = "do all of forward's work on the calling thread";
  return rejection;
}

/// Runs forward under the recorder. Exceptions of forward pass through unless it was refused.
std::optional<Rejection> run(const Module& module, const std::vector<at::Tensor>& inputs,
                             Recorder& recorder) {
  const RecordingScope scope(recorder);
  const auto storages = weight_storages(module);
  try {
    const std::vector<at::Tensor> outputs = module.forward(inputs);
    if (!recorder.rejection()) recorder.set_outputs(outputs);
  } catch (...) {
    if (!recorder.rejection()) throw;
  }
  if (recorder.rejection()) return recorder.rejection();
  if (auto rejection = foreign_work(scope.foreign_call())) return rejection;
  return rebound_weight(module, storages);
}

}  // namespace

std::variant<Recording, Rejection> record(const Module& module,
                                          const std::vector<at::Tensor>& inputs,
                                          const std::string& name) {
  check_module(module);
  check_inputs(module, inputs);
  const std::vector<std::string> names = input_names(module, inputs.size());
  if (!module.training_modules.empty()) return training_rejection(module.training_modules);

  const c10::InferenceMode inference;
  const std::vector<at::Tensor> copies = private_copies(inputs);
  Recorder recorder(name, module.tensors);
  for (std::size_t i = 0; i < copies.size(); ++i) recorder.add_input(names[i], copies[i]);

  const auto start = std::chrono::steady_clock::now();
  if (auto rejection = run(module, copies, recorder)) return std::move(*rejection);
  const std::chrono::duration<double, std::milli> elapsed =
      std::chrono::steady_clock::now() - start;
  if (base::log_enabled(base::LogLevel::kInfo)) {
    base::log(base::LogLevel::kInfo, "traced '" + name +
                                         "': " + std::to_string(recorder.graph().size()) +
                                         " nodes in " + std::to_string(elapsed.count()) + " ms");
  }
  return Recording{std::move(recorder.graph()), std::move(recorder.weights()), elapsed.count()};
}

}  // namespace monograph::trace
