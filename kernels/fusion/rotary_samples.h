// Samples of what decoders do around attention, shared by the kernels that do parts of it.
#pragma once

#include "kernels/registry.h"

namespace monograph::kernels::fusion {

/// Sizes of one decoding step's attention: `group` query heads for each of `heads` heads of keys.
struct DecodeSizes {
  std::int64_t batch = 1, heads = 2, group = 2, keys = 12, size = 16;
  bool own = false;  ///< TensorDesc::own of the caches
};

/// Rotary embedding of queries and keys of one position, with or without a norm before; keys go to
/// row `position` of a cache, and so do values where there is a norm.
Call rotary_call(DType dtype, const DecodeSizes& sizes, bool normed);

/// The same, with values written in any case, and attention of the query over both caches with a
/// boolean mask.
Call cached_attention_call(DType dtype, const DecodeSizes& sizes, bool normed);

}  // namespace monograph::kernels::fusion
