// Where a kernel of ours applies, but LibTorch's is predicted to be faster.
#pragma once

#include <string>

#include "kernels/registry.h"

namespace monograph::cuda {

/// Why `call` is better left to LibTorch than to `own`; empty if it isn't.
///
/// Attention over long sequences: our kernel does its products outside the tensor cores, LibTorch's
/// flash kernel on them, at the price of a copy of the result to where it belongs.
std::string why_library(const kernels::Call& call, const kernels::Instance& own,
                        const kernels::Target& target);

}  // namespace monograph::cuda
