// The host back end's runner.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/exec/backend.h"
#include "runtime/host/bind.h"
#include "runtime/host/memory.h"

namespace monograph::host {

/// Runs launches one after the other, bound once to tensors over the arena, weights, inputs and
/// outputs. Results don't depend on what the arena held before.
class HostRunner final : public exec::Runner {
 public:
  explicit HostRunner(const exec::Planned& planned);

  void run(const std::vector<at::Tensor>& inputs, const std::vector<at::Tensor>& outputs) override;
  bool run_timed(const std::vector<at::Tensor>& inputs, const std::vector<at::Tensor>& outputs,
                 std::vector<double>& microseconds) override;
  void rebind_weights(const std::vector<std::string>& changed) override;
  std::vector<std::string> allocating_launches() const override;

  Memory& memory() noexcept { return memory_; }

 private:
  template <class RunOne>
  void run_each(const std::vector<at::Tensor>& inputs, const std::vector<at::Tensor>& outputs,
                RunOne run_one);

  void bind();

  const exec::Planned& planned_;
  Memory memory_;
  Scope scope_;
  std::vector<BoundLaunch> launches_;
};

}  // namespace monograph::host
