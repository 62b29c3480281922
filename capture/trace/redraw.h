// Other data of the same shape, for the second forward of a trace.
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <vector>

namespace monograph::trace {

/// How much of the data changes. A forward that checks its inputs on the host may accept only the
/// weaker ones.
enum class Redraw : std::uint8_t {
  kAll,     ///< floats redrawn, integers and booleans permuted
  kFloats,  ///< floats redrawn only
  kNone,    ///< the same data
};

/// Copies of `tensors` (dense or expanded, each in memory of its own) with other values. Small
/// tensors are turned over by rank, so that a value above the middle comes below it (masks and
/// other tensors of few different values: so that the first places hold others); large ones are
/// drawn from their own values. Floats are then moved a little within their range unless there are
/// only few different ones (a mask). Mean, deviation, range and infinities stay alike, and integers
/// and booleans are permuted within their own values, so that indices stay valid.
/// The same tensors give the same values. Doesn't touch LibTorch's generators.
std::vector<at::Tensor> redraw(const std::vector<at::Tensor>& tensors, Redraw what);

}  // namespace monograph::trace
