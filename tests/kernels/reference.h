// What calls should compute, operator by operator, in long double or as LibTorch's eager kernels
// round.
#pragma once

#include <vector>

#include "tests/kernels/tensor.h"

namespace kernels_test {

enum class Rounding {
  kExact,  ///< no rounding of floats at all
  kEager,  ///< every operator's result is rounded to its dtype, arithmetic on halves in float
};

/// Results of `call` (its body step by step, or its operator). Aborts on an operator it lacks.
std::vector<Values> reference(const monograph::kernels::Call& call,
                              const std::vector<Values>& inputs, Rounding rounding);

/// What becomes of the state that steps of `call` write, in their order.
std::vector<Values> reference_effects(const monograph::kernels::Call& call,
                                      const std::vector<Values>& inputs, Rounding rounding);

/// How far results may be from the exact ones: NaN and infinities in the same places, the root mean
/// square error at most `factor` times eager's own (or than half a unit of the dtype's precision,
/// relative to the largest value), no single element further off than `spread` of that. Empty or a
/// description of the worst breach.
///
/// `magnitude`: of what results are differences of, if they may cancel.
std::string compare(const Values& got, const Values& exact, const Values& eager,
                    Real magnitude = 0);

}  // namespace kernels_test
