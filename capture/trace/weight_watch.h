// What a module's tensors were before forward ran.
#pragma once

#include <monograph/program.h>

#include <optional>
#include <string>
#include <vector>

namespace monograph::trace {

/// Identity, geometry and contents of a module's tensors. Contents are compared by a checksum per
/// storage, on the host; of small storages a copy is kept, so that a write that no operator showed
/// can be undone. Weights that are MappedWeights are compared with their file, which must still be
/// current.
class WeightWatch {
 public:
  explicit WeightWatch(const Module& module);

  /// The first tensor that is another one, or lies or looks otherwise than before, as a refusal.
  /// Tensors that weren't there before are one, too. `now` becomes the tensor that is there
  /// instead, where there is one.
  std::optional<Rejection> moved(const Module& module, at::Tensor& now) const;
  /// Takes tensors that weren't there before as if they had been; returns them.
  std::vector<NamedTensor> adopt(const Module& module);
  /// The first tensor whose contents aren't what they were, as a refusal. Contents of small
  /// storages are put back. Costs one pass over the weights' memory.
  std::optional<Rejection> written() const;
  /// Puts the contents of small storages back.
  void put_back() const;

 private:
  struct State {
    std::string name;
    at::Tensor tensor;
    const c10::StorageImpl* storage = nullptr;
    const void* data = nullptr;
    std::vector<std::int64_t> sizes;
    std::vector<std::int64_t> strides;
    std::int64_t offset = 0;
    bool same_place(const State& other) const noexcept;
  };
  struct Contents {
    std::size_t owner = 0;  ///< index into states_
    bool buffer = false;
    bool mapped = false;  ///< compared with its file
    std::uint64_t sum = 0;
    at::Tensor bytes;  ///< over the storage
    at::Tensor copy;   ///< undefined for large storages
  };
  static State state_of(const NamedTensor& named);
  void add(const std::vector<NamedTensor>& tensors);
  /// By index of contents_: whether they aren't what they were.
  std::vector<bool> changed_now() const;

  std::vector<State> states_;
  std::vector<Contents> contents_;  ///< one per storage
};

}  // namespace monograph::trace
