// Small helpers shared by the files of this layer. Not for use outside runtime/plan.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/plan/plan.h"

namespace monograph::plan {

/// `bytes` rounded up to kAlignment; `bytes` must be at least kAlignment below the 64-bit limit.
constexpr std::int64_t round_up(std::int64_t bytes) noexcept {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// "buffer 3 'hidden'" for messages.
std::string describe(const Buffer& buffer);

/// Throws Error(kInvalidGraph) as described at make_plan. `name` of the launch is the node.
void validate(const Problem& problem);

}  // namespace monograph::plan
