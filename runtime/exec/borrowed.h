// Outputs over memory that an executable keeps.
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <string>
#include <vector>

namespace monograph::exec {

/// Lends tensors over one set of output memory, a generation at a time. Not thread-safe. The memory
/// outlives this object as long as somebody holds a tensor of the last generation.
class BorrowedOutputs {
 public:
  /// `memory`: one tensor per output, each with a storage of its own.
  explicit BorrowedOutputs(std::vector<at::Tensor> memory) : memory_(std::move(memory)) {}

  /// Starts a generation: whatever still refers to tensors of the last one, or to views of them,
  /// throws c10::Error with a message naming `name` when it touches their data. Allocates nothing
  /// if nobody does.
  const std::vector<at::Tensor>& renew(const std::string& name);
  std::uint64_t generation() const noexcept { return generation_; }
  /// What lies behind the tensors of every generation.
  const std::vector<at::Tensor>& memory() const noexcept { return memory_; }

 private:
  std::vector<at::Tensor> memory_;
  std::vector<at::Tensor> lent_;
  std::uint64_t generation_ = 0;
};

}  // namespace monograph::exec
