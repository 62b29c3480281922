// What a replay expects of its tensors, compact enough to be compared on every call.
#pragma once

#include <ATen/core/TensorBody.h>
#include <monograph/program.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace monograph::exec {

/// Bytes [first, second) of memory; empty if first == second.
using ByteRange = std::pair<const std::byte*, const std::byte*>;

/// Memory that the elements of `t` touch. `t` must be a dense strided tensor.
ByteRange byte_range(const at::Tensor& t) noexcept;

/// "f32[1,32,384]{strides=[12288,384,1]} on cpu"; strides only where they aren't row-major.
std::string describe(const at::Tensor& t);
std::string describe(const TensorSpec& spec);

/// A list of tensor specs in the form that makes a comparison cheap. Immutable, so safe to use
/// from many threads.
class Signature {
 public:
  /// `role` ("input", "output") is how messages call a tensor.
  Signature(std::vector<TensorSpec> specs, std::string role);

  const std::vector<TensorSpec>& specs() const noexcept { return specs_; }

  /// True if every tensor equals its spec exactly, is plain and dense, has memory behind it and
  /// (with grad mode on) doesn't require grad. False says nothing: ask `check`. Allocates nothing.
  bool matches(const std::vector<at::Tensor>& tensors) const noexcept;

  /// Throws Error(kInvalidArgument) naming the first tensor that can't be used, what was expected
  /// and what came. Accepts more than `matches`: strides of size-1 dimensions and of empty tensors
  /// don't matter. Allocates nothing unless it throws.
  void check(const std::vector<at::Tensor>& tensors) const;

 private:
  struct Slot {
    caffe2::TypeMeta dtype;
    c10::Device device = at::kCPU;
    c10::DispatchKeySet plain;      // of a tensor made with autograd keys
    c10::DispatchKeySet inference;  // of one made under InferenceMode
    std::size_t rank = 0;
    std::size_t first_dim = 0;  // sizes, then strides, in dims_
    std::size_t extent = 0;     // bytes from the first element to the end of the last
    bool empty = false;
  };
  bool slot_matches(const Slot& slot, const c10::TensorImpl& impl, bool grad) const noexcept;
  void check_one(std::size_t index, const at::Tensor& tensor) const;
  [[noreturn]] void fail(std::size_t index, const std::string& problem) const;

  std::vector<TensorSpec> specs_;
  std::vector<Slot> slots_;
  std::vector<std::int64_t> dims_;
  std::string role_;
};

}  // namespace monograph::exec
