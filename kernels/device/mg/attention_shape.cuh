// What the two ways of going over keys in mg/attention.cuh share.
#pragma once

#include "mg/attention_operands.cuh"

namespace mg {

template <class T_, class Out_, class Mask_, int D_, int ROWS_, int GROUP_, int HEADS_, int L_,
          int S_, int SPLITS_, bool CLUSTER_, bool TENSOR_, int WARPS_, int UNROLL_, int DEPTH_,
          bool EARLY_, bool CAUSAL_, bool MASKED_, bool SAME_>
struct AttentionShape {
  using T = T_;
  using Out = Out_;
  using Mask = Mask_;
  static constexpr int D = D_;
  static constexpr int ROWS = ROWS_;    // query rows of a block
  static constexpr int GROUP = GROUP_;  // query heads that share keys
  static constexpr int HEADS = HEADS_;  // of keys
  static constexpr int L = L_, S = S_;
  static constexpr int SPLITS = SPLITS_;     // blocks that share the keys
  static constexpr bool CLUSTER = CLUSTER_;  // they are one
  static constexpr bool TENSOR = TENSOR_;    // products on the tensor cores
  static constexpr int WARPS = WARPS_;
  static constexpr int UNROLL = UNROLL_;
  static constexpr int DEPTH = DEPTH_;   // tiles of a block on their way
  static constexpr bool EARLY = EARLY_;  // keys are there before the launches this one depends on
  static constexpr bool CAUSAL = CAUSAL_, MASKED = MASKED_;
  static constexpr int TERMS = SAME_ ? 1 : ROWS;  // of a key's mask: one for all rows, or each

  static constexpr int V = 16 / static_cast<int>(sizeof(T));            // elements of a lane
  static constexpr int kLanes = D / V;                                  // that share a key
  static constexpr int kKeys = 32 / kLanes;                             // of a warp at a time
  static constexpr int kTile = WARPS * (TENSOR ? 16 : kKeys * UNROLL);  // of a block at a time
  static constexpr int kTiles = (S + kTile - 1) / kTile;
  static constexpr int kMine = (kTiles + SPLITS - 1) / SPLITS;  // of a block
  static constexpr int kAllRows = GROUP * L;
  static constexpr int kPart = D + 2;  // floats of a partial row: sums, maximum, denominator
};

/// Where a running maximum starts: finite, so that differences are never of two infinities.
__device__ __forceinline__ float lowest32() {
  return __uint_as_float(0xff7fffffu);
}
/// Two running softmaxes joined: what the one with maximum `own` is multiplied with.
__device__ __forceinline__ float join_factor(float own, float both) {
  return __expf(own - both);
}

/// Nothing comes before the block's keys are read.
struct NothingBefore {
  static constexpr bool kWrites = false;
};
/// Every block computes its query; that with the keys' row `*position` among its keys writes the
/// row first. `rows(newest)` does it, called by all threads.
template <class Rows>
struct NewestRow {
  static constexpr bool kWrites = true;
  const long long* position;
  const Rows& rows;
};

/// Does what comes before the block's keys are read and returns the row that was written, -1 for
/// none. Copies of what was there before are waited for where the row is written.
template <class S, class Before>
__device__ __forceinline__ long long do_before(const Before& before) {
  if constexpr (Before::kWrites) {
    const long long newest = *before.position;
    const bool mine = newest / S::kTile % S::SPLITS == static_cast<long long>(blockIdx.x);
    if (mine) {
      copy_async_wait<0>();
      __syncthreads();
    }
    before.rows(mine);
    __syncthreads();
    return newest;
  }
  return -1;
}

}  // namespace mg
