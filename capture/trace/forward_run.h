// One recorded forward with every check that one run allows.
#pragma once

#include <monograph/program.h>

#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "capture/trace/state_snapshot.h"
#include "capture/trace/tracer.h"
#include "capture/trace/weight_watch.h"

namespace monograph::trace {

/// Runs of one module's forward for one trace. Not thread-safe. The module must outlive it.
class ForwardRuns {
 public:
  /// `module` and `inputs` have been checked. Of `options` see checked_record.
  ForwardRuns(const Module& module, std::vector<at::Tensor> inputs, const Options& options);

  /// What a run leaves beside its recording.
  enum class Keep : bool { kNothing, kResults };
  /// Records a forward on private copies of `inputs`. State is afterwards as before. Exceptions of
  /// forward pass through unless it was refused. Tensors that the first run adds to the module are
  /// the module's own from then on; later runs may add none.
  std::variant<Recording, Rejection> run(const std::vector<at::Tensor>& inputs,
                                         Keep keep = Keep::kNothing);
  /// Forward with weights whose memory refuses to be written; nullopt if nothing wrote there.
  std::optional<Rejection> run_guarded();

  /// The refusal of weights that any run so far wrote without an operator; small ones are put back.
  std::optional<Rejection> written_weights() const { return watch_.written(); }

  const std::vector<at::Tensor>& inputs() const noexcept { return inputs_; }

 private:
  struct Guarded {
    std::optional<Rejection> rejection;
    bool stray = false;  ///< host code asked for the memory of a guarded tensor
  };
  Guarded run_guarded_at(const std::vector<std::size_t>& positions);
  std::variant<Recording, Rejection> run_on(std::vector<at::Tensor> copies, Keep keep);
  void adopt_new_tensors();

  Module module_;  ///< with tensors that are state but not the module's own
  Options options_;
  std::vector<at::Tensor> inputs_;
  std::vector<std::string> names_;
  std::set<std::size_t> states_;
  bool every_write_ = false;
  bool first_ = true;
  WeightWatch watch_;
};

}  // namespace monograph::trace
