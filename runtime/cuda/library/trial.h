// One run of a library's way before it is relied on.
#pragma once

#include <string>

#include "runtime/cuda/library/math_library.h"

namespace monograph::cuda {

/// Runs `way` on a first operand of nothing but NaN: whatever comes after the product, every
/// element of the result must then be NaN, and so must have been written. What was wrong; empty:
/// nothing. Has memory of its own for that time. Throws what a lost device throws.
std::string trial(const ContextRef& context, const MathLibrary& library,
                  const LibraryProblem& problem, const LibraryWay& way);

}  // namespace monograph::cuda
