// From IR values to LibTorch values.
#pragma once

#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>

#include <functional>

#include "capture/ir/graph.h"

namespace monograph::host {

/// The tensors of a node's result, in order; undefined tensors for results that don't exist.
using Resolver = std::function<const std::vector<at::Tensor>&(const ir::Node&)>;

/// `arg` as an operator argument of type `type` (the schema's). `count` is the schema's fixed list
/// length (int[2]), by which a single number stands for a list. Throws Error(kInvalidGraph) if the
/// argument can't have that type.
c10::IValue to_ivalue(const ir::Arg& arg, const c10::Type& type, std::optional<int> count,
                      const Resolver& resolve);

}  // namespace monograph::host
