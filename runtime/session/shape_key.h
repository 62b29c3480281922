// What distinguishes two calls of one module: dtype, device, sizes and strides of every input.
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <string>
#include <vector>

namespace monograph::session {

/// Key of a call. Strides that can't matter (size-1 dimensions, empty tensors) don't count.
class ShapeKey {
 public:
  /// Throws Error(kInvalidArgument) for an undefined or non-strided tensor. `names` are for
  /// messages and may be shorter than `inputs`.
  ShapeKey(const std::vector<at::Tensor>& inputs, const std::vector<std::string>& names);

  /// Adds facts beyond the inputs (modes, for Mode::kStock).
  void append(const std::vector<std::int64_t>& words);

  bool operator==(const ShapeKey&) const = default;
  std::size_t hash() const noexcept;
  /// Usable as a directory name: "f32_1x32__i64_4"; strides only as a digest where not row-major.
  std::string text(const std::vector<at::Tensor>& inputs) const;

 private:
  std::vector<std::int64_t> words_;
};

struct ShapeKeyHash {
  std::size_t operator()(const ShapeKey& key) const noexcept { return key.hash(); }
};

}  // namespace monograph::session
