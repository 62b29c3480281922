// Where a kernel of ours applies, but somebody else's is predicted to be faster.
#pragma once

#include <string>

#include "kernels/registry.h"

namespace monograph::cuda {

/// Our kernel for products that libraries do as well: they are asked first, for the whole call.
inline constexpr const char* kLibraryFirst = "block_gemm";

/// Whether a kernel for attention was chosen.
bool is_attention(const kernels::Instance& own);

/// Why `call` is better left to LibTorch or a library than to `own`; empty if it isn't.
///
/// Attention over long sequences: LibTorch's flash kernel makes more of the tensor cores than ours,
/// at the price of a copy of the result to where it belongs. Products of many vectors with what no
/// library does in the same launch: large ones are worth two launches.
std::string why_library(const kernels::Call& call, const kernels::Instance& own,
                        const kernels::Target& target);

}  // namespace monograph::cuda
