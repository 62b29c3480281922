// What comes before attention in one launch with it: the query's rows, as a norm and a rotary
// embedding make them, and the newest row of the caches that it reads.
#pragma once

#include <string>
#include <vector>

#include "kernels/fusion/attention.h"

namespace monograph::kernels::fusion {

/// For attention of one query a head, whose blocks each have all heads of a group: they compute
/// their queries into shared memory, and those whose share of the keys has the newest row write it
/// to the caches before they read it.
struct AttentionPrologue {
  std::string early;                  ///< source: lines that bring small constants near
  std::string text;                   ///< source: statements that define `query` and `before`
  std::vector<std::int32_t> written;  ///< indices into Call::inputs
  Roofline roofline;
};

/// Reads the steps of `call` before attention `a`, whose blocks have `warps` warps; the reason if
/// they are something else. Kernel parameters are named in<index> as the call's inputs.
std::string read_prologue(const Call& call, const Attention& a, const Target& target,
                          std::int64_t warps, AttentionPrologue& prologue);

}  // namespace monograph::kernels::fusion
