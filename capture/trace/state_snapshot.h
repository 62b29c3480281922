// Contents of declared state, saved before forward writes them and put back after a trace.
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <vector>

namespace monograph::trace {

/// A tensor of bytes over all of a storage, unrecorded; undefined for an empty storage.
at::Tensor storage_bytes(const at::Tensor& tensor);
/// Checksums of such tensors, in order; on the host with as many threads as LibTorch uses.
/// Elsewhere the device adds up words: a change that leaves the sum the same goes unseen.
std::vector<std::uint64_t> sums_of(const std::vector<at::Tensor>& bytes);

/// What a forward left in a storage of state.
struct StateSum {
  at::Tensor bytes;  ///< over the storage
  std::uint64_t sum = 0;
};

/// Tracing runs forward for real; with this, state is afterwards what it was before, however
/// forward ended. Storages are saved when they are first written, on whatever device they are.
class StateSnapshot {
 public:
  StateSnapshot() = default;
  ~StateSnapshot();
  StateSnapshot(const StateSnapshot&) = delete;
  StateSnapshot& operator=(const StateSnapshot&) = delete;

  /// Saves the storage of `tensor` unless it is saved already. About to be written.
  void save(const at::Tensor& tensor);
  /// What the saved storages hold now.
  std::vector<StateSum> sums() const;
  /// Puts everything back and forgets it.
  void restore();

 private:
  struct Saved {
    at::Tensor bytes;  ///< over the storage itself
    at::Tensor copy;
  };
  std::vector<Saved> saved_;
};

}  // namespace monograph::trace
