// Attention of many queries on the tensor cores, with a running softmax in registers (Dao,
// "FlashAttention-2", 2023).
//
// A warp has 16 query rows. Warps of a block have neighbouring rows, or parts of the keys of the
// same rows, which they put together in shared memory at the end: with few rows it is one warp's
// chain of dependent steps that takes the time. Nothing else passes through shared memory. The
// inner index of q kᵀ is permuted alike for both operands, so that fragments are neighbouring
// columns of a row, as in skinny.cuh. Keys are dealt out so that a lane's probabilities belong to
// neighbouring ones, whose values it reads as rows, eight lanes a row; it packs pairs of keys, and
// its columns of the result are then neighbours as well. Warps of a block that need the same keys
// find them in L1.
#pragma once

#include "mg/attention_operands.cuh"

namespace mg {

template <class T_, class Out_, class Mask_, int D_, int GROUP_, int HEADS_, int L_, int S_,
          int ROW_WARPS_, int KEY_WARPS_, int KEYS_, bool CAUSAL_, bool MASKED_, bool SAME_,
          bool WIDE_>
struct PrefillShape {
  using T = T_;
  using Out = Out_;
  using Mask = Mask_;
  static constexpr int D = D_;          // a multiple of 16
  static constexpr int GROUP = GROUP_;  // query heads that share keys
  static constexpr int HEADS = HEADS_;  // of keys
  static constexpr int L = L_, S = S_;
  static constexpr int ROW_WARPS = ROW_WARPS_;  // each with 16 rows
  static constexpr int KEY_WARPS = KEY_WARPS_;  // that take turns at the keys of the same rows
  static constexpr int KEYS = KEYS_;            // of a warp at a time: 16 or 32
  static constexpr bool CAUSAL = CAUSAL_, MASKED = MASKED_;
  static constexpr int TERMS = SAME_ ? 1 : 2;  // of a key's mask: one for all rows, or each
  static constexpr bool WIDE = WIDE_;          // results are stored 8 or 16 bytes at a time

  static constexpr int kAllRows = GROUP * L;
  static constexpr int kTiles = (S + KEYS - 1) / KEYS;
  static constexpr bool kOnce = kTiles <= KEY_WARPS;  // no warp has a second tile
  static constexpr int kProducts = KEYS / 8;          // of eight keys
  static constexpr int kLaneKeys = KEYS / 4;
  static constexpr int kWords = D / 8;        // a lane's share of a row of q or k, of 32 bits
  static constexpr int kValueWords = D / 16;  // and of a value
  static constexpr int kAcross = D / 8;       // products across a row of the result
  static constexpr int kLaneOut = D / 4;      // a lane's elements of such a row
  static constexpr int kPiece = D % 32 == 0 ? 8 : 4;  // of them, neighbours
  static constexpr int kPieces = kLaneOut / kPiece;
  // Scores are in units of log 2, unless a mask might overflow in them.
  static constexpr float kToLog2 = MASKED ? 1.44269504f : 1.0f;
};

template <int WORDS>
__device__ __forceinline__ void load_words(const void* from, unsigned* to) {
  if constexpr (WORDS == 4) {
    const uint4 w = load_early(static_cast<const uint4*>(from));
    to[0] = w.x;
    to[1] = w.y;
    to[2] = w.z;
    to[3] = w.w;
  } else if constexpr (WORDS == 2) {
    const uint2 w = load_early(static_cast<const uint2*>(from));
    to[0] = w.x;
    to[1] = w.y;
  } else {
    to[0] = load_early(static_cast<const unsigned*>(from));
  }
}

/// A lane's share of a row of q or k: eight columns of each 32, and four of the last 16.
template <class S>
__device__ __forceinline__ void load_row(const typename S::T* row, int t,
                                         unsigned (&words)[S::kWords]) {
#pragma unroll
  for (int i = 0; i < S::D / 32; ++i) load_words<4>(row + i * 32 + t * 8, words + i * 4);
  constexpr int kDone = S::D / 32;
  if constexpr (S::D % 32 != 0) load_words<2>(row + kDone * 32 + t * 4, words + kDone * 4);
}

/// A lane's share of a value: eight columns of each 64, four of the 32 and two of the 16 after
/// them.
template <class S>
__device__ __forceinline__ void load_value(const typename S::T* row, int g,
                                           unsigned (&words)[S::kValueWords]) {
#pragma unroll
  for (int i = 0; i < S::D / 64; ++i) load_words<4>(row + i * 64 + g * 8, words + i * 4);
  constexpr int kDone = S::D / 64;
  constexpr int kDone32 = S::D / 32;
  if constexpr (S::D % 64 >= 32) load_words<2>(row + kDone * 64 + g * 4, words + kDone * 4);
  if constexpr (S::D % 32 != 0) load_words<1>(row + kDone32 * 32 + g * 2, words + kDone32 * 2);
}

/// First column of piece `piece` of a lane's elements of a row of the result.
template <class S>
__device__ __forceinline__ int column_of(int piece, int t) {
  constexpr int kWhole = S::D / 64;
  const int at = piece * S::kPiece;
  if (at < kWhole * 16) return at / 16 * 64 + t * 16 + at % 16;
  if (S::D % 64 >= 32 && at < kWhole * 16 + 8) {
    return kWhole * 64 + t * 8 + at - kWhole * 16;
  }
  return S::D / 32 * 32 + t * 4;
}

/// The lane's sums of row half r in the order of their columns.
template <class S>
__device__ __forceinline__ void in_order(const float (&acc)[S::kAcross][4], int r,
                                         float (&row)[S::kLaneOut]) {
#pragma unroll
  for (int a = 0; a < S::kAcross; ++a) {
    const int left = S::kAcross - a / 8 * 8;  // products from this group of eight on
    const int width = left >= 8 ? 8 : a % 8 < left / 4 * 4 ? 4 : 2;
    const int first = left >= 8 ? a / 8 * 8 : a / 8 * 8 + (width == 4 ? 0 : left / 4 * 4);
#pragma unroll
    for (int e = 0; e < 2; ++e) row[first * 2 + e * width + a - first] = acc[a][r * 2 + e];
  }
}

/// What a warp holds of KEYS keys: lane 4 g + t has columns of keys for its products' columns g,
/// and of values for its probabilities' columns 2 t and 2 t + 1.
template <class S>
struct PrefillTile {
  unsigned key[S::kProducts][S::kWords];
  unsigned value[S::kLaneKeys][S::kValueWords];
  float term[S::TERMS][S::kLaneKeys];
};

/// Where a lane reads.
template <class S>
struct PrefillLane {
  int g, t;
  const typename S::T* keys;
  const typename S::T* values;
  const typename S::Mask* mask[2];
  int limit[2];  // the last key that a row looks at

  /// Whether a key of one of the tiles exists.
  __device__ __forceinline__ static bool exists(int j) { return S::S % S::KEYS == 0 || j < S::S; }
  /// Zeros for what isn't there: nothing times infinity would count.
  __device__ __forceinline__ void load_keys(int tile, const AttentionStrides& st,
                                            PrefillTile<S>& to) const {
    const int first = tile * S::KEYS + g / 2 * S::kLaneKeys + g % 2;
    const typename S::T* const row = keys + first * st.k_row;
#pragma unroll
    for (int p = 0; p < S::kProducts; ++p) {
#pragma unroll
      for (int w = 0; w < S::kWords; ++w) to.key[p][w] = 0;
      if (exists(first + p * 2)) load_row<S>(row + p * 2 * st.k_row, t, to.key[p]);
    }
  }
  __device__ __forceinline__ void load_values(int tile, const AttentionStrides& st,
                                              PrefillTile<S>& to) const {
    const int first = tile * S::KEYS + t * S::kLaneKeys;
    const typename S::T* const row = values + first * st.v_row;
#pragma unroll
    for (int i = 0; i < S::kLaneKeys; ++i) {
#pragma unroll
      for (int w = 0; w < S::kValueWords; ++w) to.value[i][w] = 0;
      if (exists(first + i)) load_value<S>(row + i * st.v_row, g, to.value[i]);
    }
  }
  __device__ __forceinline__ void load_terms(int tile, const AttentionStrides& st,
                                             PrefillTile<S>& to) const {
    if (!S::MASKED) return;
    const int first = tile * S::KEYS + t * S::kLaneKeys;
#pragma unroll
    for (int r = 0; r < S::TERMS; ++r) {
      const typename S::Mask* const row = mask[r] + first * st.m_column;
#pragma unroll
      for (int i = 0; i < S::kLaneKeys; ++i) {
        to.term[r][i] = exists(first + i) ? mask_term(row[i * st.m_column], 0.0f) : 0.0f;
      }
    }
  }
};

/// A running softmax of rows g and g + 8, and the lane's part of the sums of values.
template <class S>
struct PrefillSums {
  float most[2], sum[2];
  float acc[S::kAcross][4];
};

template <class S>
__device__ __forceinline__ void score_tile(const unsigned (&query)[2][S::kWords],
                                           const PrefillTile<S>& tile,
                                           float (&score)[S::kProducts][4]) {
  const typename S::T* const tag = nullptr;
#pragma unroll
  for (int w = 0; w < S::kWords; w += 2) {
    const unsigned a[4] = {query[0][w], query[1][w], query[0][w + 1], query[1][w + 1]};
#pragma unroll
    for (int p = 0; p < S::kProducts; ++p) {
      const unsigned b[2] = {tile.key[p][w], tile.key[p][w + 1]};
      mma(score[p], a, b, tag);
    }
  }
}

/// Scores become probabilities, but for a factor of the row.
template <class S>
__device__ __forceinline__ void soften(int tile, const PrefillLane<S>& lane,
                                       const float (&term)[S::TERMS][S::kLaneKeys], float scale,
                                       float (&score)[S::kProducts][4], PrefillSums<S>& sums) {
  float high[2] = {-inf32(), -inf32()};
#pragma unroll
  for (int p = 0; p < S::kProducts; ++p) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int r = i / 2;
      const int at = p * 2 + i % 2;
      const int j = tile * S::KEYS + lane.t * S::kLaneKeys + at;
      float x = S::MASKED ? fmaf(score[p][i], scale, term[S::TERMS == 1 ? 0 : r][at])
                          : score[p][i] * scale;
      if (S::CAUSAL ? j > lane.limit[r] : S::S % S::KEYS != 0 && j >= S::S) x = -inf32();
      score[p][i] = x;
      high[r] = fmaxf(high[r], x);  // NaN isn't larger: it stays in the sums
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    high[r] = fmaxf(high[r], __shfl_xor_sync(0xffffffffu, high[r], 1));
    high[r] = fmaxf(high[r], __shfl_xor_sync(0xffffffffu, high[r], 2));
    const float both = fmaxf(sums.most[r], high[r]);
    const float base = both == -inf32() ? 0.0f : both;  // of a row that looks at nothing yet
    const float old = exp2f((sums.most[r] - base) * S::kToLog2);
    sums.most[r] = both;
    sums.sum[r] *= old;
#pragma unroll
    for (int a = 0; a < S::kAcross && !S::kOnce; ++a) {
      sums.acc[a][r * 2] *= old;
      sums.acc[a][r * 2 + 1] *= old;
    }
#pragma unroll
    for (int p = 0; p < S::kProducts; ++p) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& x = score[p][r * 2 + e];
        x = exp2f((x - base) * S::kToLog2);
        sums.sum[r] += x;
      }
    }
  }
}

template <class S>
__device__ __forceinline__ void add_values(const float (&score)[S::kProducts][4],
                                           const PrefillTile<S>& tile,
                                           float (&acc)[S::kAcross][4]) {
  using T = typename S::T;
  const T* const tag = nullptr;
#pragma unroll
  for (int s = 0; s < S::KEYS / 16; ++s) {
    const float(&low)[4] = score[s * 2];
    const float(&high)[4] = score[s * 2 + 1];
    const unsigned a[4] = {pack_pair<T>(low[0], low[1]), pack_pair<T>(low[2], low[3]),
                           pack_pair<T>(high[0], high[1]), pack_pair<T>(high[2], high[3])};
#pragma unroll
    for (int n = 0; n < S::kAcross; ++n) {
      const int w = n / 2;
      const unsigned halves = n % 2 == 0 ? 0x5410 : 0x7632;  // of two keys' words
      const unsigned b[2] = {
          __byte_perm(tile.value[s * 4][w], tile.value[s * 4 + 1][w], halves),
          __byte_perm(tile.value[s * 4 + 2][w], tile.value[s * 4 + 3][w], halves)};
      mma(acc[n], a, b, tag);
    }
  }
}

/// The warp's keys for its rows: tiles `at`, the first of which is held, up to `end`.
template <class S>
__device__ __forceinline__ void attend(const unsigned (&query)[2][S::kWords],
                                       const PrefillLane<S>& lane, const AttentionStrides& st,
                                       int at, int end, float scale, float zero,
                                       PrefillTile<S>& tile, PrefillSums<S>& sums) {
  const auto add = [&](int next) {
    float score[S::kProducts][4];
#pragma unroll
    for (int p = 0; p < S::kProducts; ++p) {
#pragma unroll
      for (int i = 0; i < 4; ++i) score[p][i] = zero;
    }
    score_tile<S>(query, tile, score);
    // As registers become free, the next tile's keys, mask and values are on their way.
    const bool more = !S::kOnce && next < end;
    if (more) lane.load_keys(next, st, tile);
    soften<S>(at, lane, tile.term, S::kOnce ? scale : scale + start_loads(), score, sums);
    if (more) lane.load_terms(next, st, tile);
    add_values<S>(score, tile, sums.acc);
    if (more) lane.load_values(next, st, tile);
  };
  if constexpr (S::kOnce) {
    if (at < end) add(end);
  } else {
#pragma unroll 1
    for (; at < end; at += S::KEY_WARPS) add(at + S::KEY_WARPS);
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    sums.sum[r] += __shfl_xor_sync(0xffffffffu, sums.sum[r], 1);
    sums.sum[r] += __shfl_xor_sync(0xffffffffu, sums.sum[r], 2);
  }
}

template <class S>
__device__ __forceinline__ void store_piece(typename S::Out* to, const float (&v)[S::kPiece]) {
  using Out = typename S::Out;
  if constexpr (!S::WIDE) {
#pragma unroll
    for (int i = 0; i < S::kPiece; ++i) to[i] = convert<Out>(v[i]);
  } else if constexpr (sizeof(Out) == 4) {
#pragma unroll
    for (int i = 0; i < S::kPiece; i += 4) {
      const float four[4] = {v[i], v[i + 1], v[i + 2], v[i + 3]};
      __stcg(reinterpret_cast<uint4*>(to + i), pack(four, static_cast<const Out*>(nullptr)));
    }
  } else if constexpr (S::kPiece == 8) {
    __stcg(reinterpret_cast<uint4*>(to), pack(v, static_cast<const Out*>(nullptr)));
  } else {
    __stcg(reinterpret_cast<uint2*>(to),
           make_uint2(pack_pair<Out>(v[0], v[1]), pack_pair<Out>(v[2], v[3])));
  }
}

/// What a row's sums are multiplied by. One that may look at nothing is zero, as LibTorch has it.
__device__ __forceinline__ float share_of(float sum) {
  return sum == 0.0f ? 1.0f : __fdividef(1.0f, sum);
}

/// Warps that had parts of the keys of the same rows: each leaves its sums in shared memory, and
/// each joins some columns of all of them.
template <class S>
__device__ __forceinline__ void join_keys(const PrefillSums<S>& sums, int warp, int lane,
                                          const AttentionRow<S>& low, const AttentionRow<S>& high,
                                          typename S::Out* out) {
  constexpr int kWarps = S::ROW_WARPS * S::KEY_WARPS;
  constexpr int kFours = S::kPiece / 4;
  constexpr int kAll = 2 * S::kPieces;
  __shared__ float4 parts[kWarps * kAll * kFours * 32];
  __shared__ float2 states[kWarps * 16];  // of a row: maximum and denominator
  const int g = lane / 4;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (lane % 4 == 0) states[warp * 16 + r * 8 + g] = make_float2(sums.most[r], sums.sum[r]);
    float row[S::kLaneOut];
    in_order<S>(sums.acc, r, row);
    float4* const to = parts + (warp * 2 + r) * S::kPieces * kFours * 32 + lane;
#pragma unroll
    for (int i = 0; i < S::kLaneOut; i += 4) {
      to[i / 4 * 32] = make_float4(row[i], row[i + 1], row[i + 2], row[i + 3]);
    }
  }
  __syncthreads();
  const int first = warp / S::KEY_WARPS * S::KEY_WARPS;  // of the warps with these rows
  for (int piece = warp - first; piece < kAll; piece += S::KEY_WARPS) {
    const int r = piece / S::kPieces;
    float2 state[S::KEY_WARPS];
    float most = -inf32();
#pragma unroll
    for (int w = 0; w < S::KEY_WARPS; ++w) {
      state[w] = states[(first + w) * 16 + r * 8 + g];
      most = fmaxf(most, state[w].x);
    }
    const float base = most == -inf32() ? 0.0f : most;
    float sum = 0;
    float v[S::kPiece] = {};
#pragma unroll
    for (int w = 0; w < S::KEY_WARPS; ++w) {
      const float f = exp2f((state[w].x - base) * S::kToLog2);
      sum = fmaf(f, state[w].y, sum);
#pragma unroll
      for (int i = 0; i < kFours; ++i) {
        const float4 part = parts[(((first + w) * kAll + piece) * kFours + i) * 32 + lane];
        v[i * 4] = fmaf(f, part.x, v[i * 4]);
        v[i * 4 + 1] = fmaf(f, part.y, v[i * 4 + 1]);
        v[i * 4 + 2] = fmaf(f, part.z, v[i * 4 + 2]);
        v[i * 4 + 3] = fmaf(f, part.w, v[i * 4 + 3]);
      }
    }
    const float share = share_of(sum);
#pragma unroll
    for (int i = 0; i < S::kPiece; ++i) v[i] *= share;
    const long long at = r == 0 ? low.o : high.o;
    if (r == 0 ? low.live : high.live) {
      store_piece<S>(out + at + column_of<S>(piece % S::kPieces, lane % 4), v);
    }
  }
}

/// The rows of one warp that had all keys.
template <class S>
__device__ __forceinline__ void store_row(const PrefillSums<S>& sums, int r, int t,
                                          const AttentionRow<S>& row, typename S::Out* out) {
  float all[S::kLaneOut];
  in_order<S>(sums.acc, r, all);
  const float share = share_of(sums.sum[r]);
#pragma unroll
  for (int piece = 0; piece < S::kPieces; ++piece) {
    float v[S::kPiece];
#pragma unroll
    for (int i = 0; i < S::kPiece; ++i) v[i] = all[piece * S::kPiece + i] * share;
    if (row.live) store_piece<S>(out + row.o + column_of<S>(piece, t), v);
  }
}

/// Tiles of keys that rows from `first` on, sixteen of them, look at.
template <class S>
__device__ __forceinline__ int tiles_of(int first) {
  if (!S::CAUSAL) return S::kTiles;
  const int last = first + 15 < S::kAllRows ? first + 15 : S::kAllRows - 1;
  if (first >= S::kAllRows || first / S::L != last / S::L) return S::kTiles;
  const int tiles = last % S::L / S::KEYS + 1;
  return tiles < S::kTiles ? tiles : S::kTiles;
}

template <class S>
__device__ __forceinline__ void prefill_attention(const typename S::T* q, const typename S::T* k,
                                                  const typename S::T* v,
                                                  const typename S::Mask* mask,
                                                  typename S::Out* out, const AttentionStrides& st,
                                                  float scale) {
  pdl_launch();
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int batch = static_cast<int>(blockIdx.y) / S::HEADS;
  const int kv = static_cast<int>(blockIdx.y) % S::HEADS;
  const int first_row = (static_cast<int>(blockIdx.x) * S::ROW_WARPS + warp / S::KEY_WARPS) * 16;
  const AttentionRow<S> low(first_row + lane / 4, st);
  const AttentionRow<S> high(first_row + lane / 4 + 8, st);
  PrefillLane<S> at;
  at.g = lane / 4;
  at.t = lane % 4;
  at.keys = k + batch * st.k_batch + kv * st.k_head;
  at.values = v + batch * st.v_batch + kv * st.v_head;
  at.mask[0] = mask + low.mask;
  at.mask[1] = mask + high.mask;
  at.limit[0] = low.position < S::S ? low.position : S::S - 1;
  at.limit[1] = high.position < S::S ? high.position : S::S - 1;
  PrefillSums<S> sums = {{-inf32(), -inf32()}, {}, {}};
  unsigned query[2][S::kWords];
  PrefillTile<S> tile;
  const int first = warp % S::KEY_WARPS;
  pdl_wait();
  load_row<S>(q + low.q, at.t, query[0]);
  load_row<S>(q + high.q, at.t, query[1]);
  at.load_keys(first, st, tile);
  at.load_terms(first, st, tile);
  at.load_values(first, st, tile);
  const float zero = start_loads();
  attend<S>(query, at, st, first, tiles_of<S>(first_row), S::MASKED ? scale : scale * 1.44269504f,
            zero, tile, sums);
  if constexpr (S::KEY_WARPS > 1) {
    join_keys<S>(sums, warp, lane, low, high, out);
  } else {
    store_row<S>(sums, 0, at.t, low, out);
    store_row<S>(sums, 1, at.t, high, out);
  }
}

}  // namespace mg
