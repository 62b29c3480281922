// Generator of kernels for pointwise fusions: broadcast and strided inputs, any number of
// expressions, one or several results of one shape.
#pragma once

#include <string>

#include "kernels/fusion/program.h"

namespace monograph::kernels::fusion {

/// One thread handles as many neighbouring elements as make 16 bytes, where layouts allow. `entry`
/// names the kernel function. A reason if the call reduces or can't be expressed.
Match pointwise_instance(const Call& call, const Target& target, const std::string& entry);

}  // namespace monograph::kernels::fusion
