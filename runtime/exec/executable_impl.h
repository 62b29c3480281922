// What an Executable is made of; for the session, which checks signatures itself.
#pragma once

#include <monograph/executable.h>

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/exec/backend.h"
#include "runtime/exec/borrowed.h"
#include "runtime/exec/signature.h"

namespace monograph {

class Executable::Impl {
 public:
  /// See Executable::build. `session` comes from `open_session` with the same options; null: one
  /// of its own.
  Impl(const Program& program, const Options& options, std::shared_ptr<void> session = nullptr);

  /// What executables of one module share on the back end that `options` choose; may be null.
  static std::shared_ptr<void> open_session(const Program& program, const Options& options);

  const exec::Signature& inputs() const noexcept { return inputs_; }

  /// The two replays of Executable for inputs that `inputs()` has already accepted. Outputs of the
  /// second are still checked.
  std::vector<at::Tensor> run(const std::vector<at::Tensor>& inputs);
  void run(const std::vector<at::Tensor>& inputs, const std::vector<at::Tensor>& outputs);

  void rebind_weights(const std::vector<NamedTensor>& weights);
  std::uint64_t generation() const noexcept { return borrowed_ ? borrowed_->generation() : 0; }

  const Program& program() const noexcept { return program_; }
  const Report& report() const noexcept { return report_; }
  std::string dump(std::string_view stage) const;
  exec::Runner& runner() noexcept { return *runner_; }
  const exec::Runner& runner() const noexcept { return *runner_; }
  const exec::Planned& planned() const noexcept { return planned_; }

 private:
  // A weight's address when the plan was built; replay reads it there.
  struct WeightPin {
    const c10::TensorImpl* tensor = nullptr;
    const c10::StorageImpl* storage = nullptr;
    const void* data = nullptr;
  };
  class InFlight;

  void pin_weights();
  std::map<std::string, at::Tensor> replaced(const std::vector<NamedTensor>& weights) const;
  void check_pins() const;
  void check_inputs_apart(const std::vector<at::Tensor>& inputs) const;
  [[noreturn]] void report_moved_weight() const;
  void check_overlap(const std::vector<at::Tensor>& inputs,
                     const std::vector<at::Tensor>& outputs) const;
  void check_not_fed_back(const std::vector<at::Tensor>& inputs) const;
  void fill_report(const exec::Backend& backend);

  Program program_;
  exec::Planned planned_;
  exec::Signature inputs_;
  exec::Signature outputs_;
  std::vector<WeightPin> pins_;
  std::vector<exec::ByteRange> weight_ranges_;                         // sorted, disjoint
  std::vector<std::pair<std::string, exec::ByteRange>> state_ranges_;  // by name
  std::unique_ptr<exec::Runner> runner_;
  Report report_;
  std::optional<exec::BorrowedOutputs> borrowed_;
  std::string broken_;  // why a replacement of weights failed half-way; empty: it didn't
  std::atomic<bool> in_flight_ = false;
};

/// Holds the one permission to replay; throws if it is taken.
class Executable::Impl::InFlight {
 public:
  explicit InFlight(std::atomic<bool>& flag) : flag_(flag) {
    if (flag_.exchange(true, std::memory_order_acquire)) {
      throw Error(Code::kInvalidState,
                  "a replay of this executable is in flight on another thread; an Executable runs "
                  "one at a time: build one per thread, or use CompiledModule, which waits");
    }
  }
  ~InFlight() { flag_.store(false, std::memory_order_release); }
  InFlight(const InFlight&) = delete;
  InFlight& operator=(const InFlight&) = delete;

 private:
  std::atomic<bool>& flag_;
};

}  // namespace monograph
