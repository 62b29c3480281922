// Generator of elementwise kernels: broadcast inputs, one expression, one output.
//
// The generated source has one thread handle `width` consecutive output elements: when every input
// is either laid out like the output or constant along the fastest dimension, with 16-byte
// accesses; otherwise element by element with an index decomposition over collapsed dimensions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/registry.h"

namespace monograph::kernels {

/// An expression over inputs `x0`, `x1`, ... of type `compute`, giving a value of that type.
struct Elementwise {
  std::string name;             ///< kernel name, a C identifier
  DType compute = DType::kF32;  ///< f32 (also for the halves), f64, i64 or bool
  std::string expression;       ///< C++, e.g. "x0 + 2.0f * x1"
  std::vector<TensorDesc> inputs;
  TensorDesc output;
};

/// The instance for `e`; parameters are inputs in order, then the output. A reason if some operand
/// can't be handled (an output that overlaps itself).
Match elementwise_instance(const Elementwise& e, const Target& target);

/// Type in which LibTorch computes an elementwise operator on operands of type `common`.
DType compute_type(DType common) noexcept;

/// `value` as a C++ literal of `compute`.
std::string literal(double value, DType compute);
std::string literal(std::int64_t value, DType compute);

/// Dimensions of `shape` after dropping size-1 ones and joining neighbours that all operands walk
/// through without a jump. `strides[o]` per operand, 0 along broadcast dimensions.
struct Collapsed {
  std::vector<std::int64_t> sizes;
  std::vector<std::vector<std::int64_t>> strides;
};
Collapsed collapse(const std::vector<std::int64_t>& shape,
                   const std::vector<const TensorDesc*>& operands);

}  // namespace monograph::kernels
