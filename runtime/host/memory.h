// Memory of one host executable: the arena, and a LibTorch storage for every buffer of the plan.
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstddef>
#include <memory>
#include <vector>

#include "capture/ir/graph.h"
#include "runtime/exec/backend.h"

namespace monograph::host {

/// A fresh tensor over `storage`, `byte_offset` bytes further than `type` says. Made for use under
/// InferenceMode: no autograd keys, no version counter.
at::Tensor tensor_over(const c10::Storage& storage, const ir::TensorType& type,
                       std::int64_t byte_offset);

/// Owns the arena; shares the storages of weights. Storages of inputs and outputs own nothing and
/// point to whatever `point_*` last said. Tensors over any storage here stay valid as long as this
/// object lives. Not thread-safe.
class Memory {
 public:
  explicit Memory(const exec::Planned& planned);

  /// A tensor for one IR value; undefined if the value is.
  at::Tensor tensor(const ir::Value& value) const;

  /// Points the storage of input `index` at the data of `t`, which is only read.
  void point_input(std::size_t index, const at::Tensor& t) noexcept;
  void point_output(std::size_t index, const at::Tensor& t) noexcept;

  /// Scratch of a launch; nullptr if it has none.
  std::byte* workspace(plan::LaunchId launch) const;

  /// Fills the arena with bytes that read as NaN in every float type. Results must not change.
  void poison() noexcept;
  std::size_t arena_bytes() const noexcept { return arena_bytes_; }
  const std::byte* arena() const noexcept { return arena_.get(); }

 private:
  struct Free {
    void operator()(std::byte* p) const noexcept;
  };
  struct Slot {
    c10::Storage storage;
    std::int64_t byte_offset = 0;  // added to the offsets the IR knows
  };
  struct Port {
    c10::StorageImpl* storage = nullptr;  // owned by slots_; null if nothing uses the port
    std::size_t offset = 0;               // bytes by which the tensor's data lies in the storage
  };

  void bind_weights(const exec::Planned& planned);
  void bind_buffers(const exec::Planned& planned);
  void bind_ports(const std::vector<const ir::Node*>& nodes, std::vector<Port>& ports);

  std::unique_ptr<std::byte, Free> arena_;
  std::size_t arena_bytes_ = 0;
  std::vector<Slot> slots_;  // by storage id
  std::vector<Port> inputs_;
  std::vector<Port> outputs_;
  std::vector<std::byte*> workspaces_;  // by launch
};

}  // namespace monograph::host
