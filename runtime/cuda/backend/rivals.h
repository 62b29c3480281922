// Kernels of ours that do the same: which one a device is fastest with.
#pragma once

#include "kernels/compile/compiler.h"
#include "kernels/registry.h"
#include "runtime/cuda/tune/tuner.h"

namespace monograph::cuda {

/// The definition to use for `call`, as kernels::select says; but where several kernels for
/// products with few vectors or for attention match, the fastest as `tuner` remembers or times it,
/// with the times as the reason. Untimed, select's.
kernels::Match select_timed(const kernels::Call& call, const kernels::Target& target,
                            const kernels::Compiler& compiler, const ContextRef& context,
                            Tuner& tuner);

}  // namespace monograph::cuda
