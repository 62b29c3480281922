// Generator of kernels that reduce rows: sums, maxima, norms and softmaxes with whatever pointwise
// work comes before, between and after.
#pragma once

#include <string>

#include "kernels/fusion/program.h"

namespace monograph::kernels::fusion {

/// Threads share a row and hold their part of it in registers if it fits, else read it once per
/// reduction. Where neighbouring elements belong to different rows, lanes take rows instead. A
/// reason if nothing is reduced or the call can't be expressed.
Match rows_instance(const Call& call, const Target& target, const std::string& entry);

}  // namespace monograph::kernels::fusion
