// What fusion passes know about operators: how results depend on operands, element by element.
#pragma once

#include <cstdint>

#include "capture/ir/graph.h"

namespace monograph::passes {

enum class OpClass : std::uint8_t {
  kOther,
  kPointwise,  ///< each element from the elements that broadcast to its place, casts and copies too
  kConcat,     ///< each element from one element of one operand
  kGather,     ///< rows of a table by an index tensor
  kReduction,  ///< softmax, norms, sums: each row by itself
  kScatter,    ///< writes rows of declared state at given places
};

/// The class of a call that a fusion may take in: one fresh dense tensor from tensors and plain
/// numbers, repeatable; or, for kScatter, a write to state. Everything else is kOther.
OpClass op_class(const ir::Node& node);

/// An RMS norm of short rows, as heads of attention have.
bool is_head_norm(const ir::Node& node);

/// True for kPointwise, kConcat and kGather: results that a kernel can compute where it needs them.
bool is_map(OpClass c) noexcept;

/// Dimensions that a reduction's result depends on as a whole, ascending; empty for other calls and
/// for reductions of an unknown form. `layer_norm(x, [768])` of a [1,128,768]: {2}.
std::vector<std::int64_t> reduced_dims(const ir::Node& node);

}  // namespace monograph::passes
