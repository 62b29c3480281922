// Attention with the keys split over blocks (Dao et al., "Flash-Decoding", 2023): each block goes
// once over its keys and values with a running softmax for a few query rows that share them, and
// the parts are put together in a fixed order: by the first block of a cluster, whose others write
// theirs into its shared memory, or by the last block to finish.
#pragma once

#include "mg/attention_operands.cuh"

namespace mg {

template <class T_, class Out_, class Mask_, int D_, int ROWS_, int GROUP_, int HEADS_, int L_,
          int S_, int SPLITS_, bool CLUSTER_, int WARPS_, int UNROLL_, bool CAUSAL_, bool MASKED_,
          bool SAME_>
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
  static constexpr int WARPS = WARPS_;
  static constexpr int UNROLL = UNROLL_;
  static constexpr bool CAUSAL = CAUSAL_, MASKED = MASKED_;
  static constexpr int TERMS = SAME_ ? 1 : ROWS;  // of a key's mask: one for all rows, or each

  static constexpr int V = 16 / static_cast<int>(sizeof(T));  // elements of a lane
  static constexpr int kLanes = D / V;                        // that share a key
  static constexpr int kKeys = 32 / kLanes;                   // of a warp at a time
  static constexpr int kTile = WARPS * kKeys * UNROLL;        // keys of a block at a time
  static constexpr int kAllRows = GROUP * L;
  static constexpr int kPart = D + 2;  // floats of a partial row: sums, maximum, denominator
};

/// Two running softmaxes joined: maxima, denominators and one sum.
__device__ __forceinline__ float join_factor(float own, float both) {
  return own == -inf32() ? 0.0f : __expf(own - both);
}

/// Keys and values of a tile as a lane holds them: one key per unrolled step, and its mask.
template <class S>
struct KeyTile {
  uint4 key[S::UNROLL], value[S::UNROLL];
  float term[S::UNROLL][S::TERMS];
};

/// Whether some row looks at a key, by its mask.
template <class S>
__device__ __forceinline__ bool any_row(const float (&term)[S::TERMS]) {
  bool any = false;
#pragma unroll
  for (int r = 0; r < S::TERMS; ++r) any = any || term[r] != -inf32();
  return any;
}

/// Starts bringing the block's first keys and values into L2, before it is known which count.
template <class S>
__device__ __forceinline__ void fetch_keys(const typename S::T* k, const typename S::T* v,
                                           const AttentionStrides& st) {
  constexpr int kRowBytes = S::D * static_cast<int>(sizeof(typename S::T));
  constexpr int kLines = kRowBytes > 128 ? kRowBytes / 128 : 1;  // of a key
  constexpr int kMost = 32 << 10;                                // bytes of a block
  constexpr int kTiles =
      kMost / (2 * kRowBytes * S::kTile) > 1 ? kMost / (2 * kRowBytes * S::kTile) : 1;
  const int batch = static_cast<int>(blockIdx.y) / S::HEADS;
  const int kv = static_cast<int>(blockIdx.y) % S::HEADS;
  for (int i = static_cast<int>(threadIdx.x); i < kTiles * S::kTile * kLines; i += S::WARPS * 32) {
    const int tile = static_cast<int>(blockIdx.x) + i / (S::kTile * kLines) * S::SPLITS;
    const long long j = tile * S::kTile + i / kLines % S::kTile;
    if (j >= S::S) break;
    const int d = i % kLines * (128 / static_cast<int>(sizeof(typename S::T)));
    prefetch_line(k + batch * st.k_batch + kv * st.k_head + j * st.k_row + d);
    prefetch_line(v + batch * st.v_batch + kv * st.v_head + j * st.v_row + d);
  }
}

/// Adds a tile: all its scores first, then one step of the running softmax.
template <class S>
__device__ __forceinline__ void add_tile(const KeyTile<S>& tile,
                                         const float (&query)[S::ROWS][S::V],
                                         float (&most)[S::ROWS], float (&sum)[S::ROWS],
                                         float (&acc)[S::ROWS][S::V]) {
  const typename S::T* const tag = nullptr;
  float score[S::UNROLL][S::ROWS];
#pragma unroll
  for (int u = 0; u < S::UNROLL; ++u) {
    float key[S::V];
    unpack(tile.key[u], key, tag);
#pragma unroll
    for (int r = 0; r < S::ROWS; ++r) {
      float dot = 0;
#pragma unroll
      for (int i = 0; i < S::V; ++i) dot = fmaf(query[r][i], key[i], dot);
      score[u][r] = dot;
    }
  }
#pragma unroll
  for (int o = S::kLanes / 2; o > 0; o >>= 1) {
#pragma unroll
    for (int u = 0; u < S::UNROLL; ++u) {
#pragma unroll
      for (int r = 0; r < S::ROWS; ++r) {
        score[u][r] += __shfl_xor_sync(0xffffffffu, score[u][r], o);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < S::ROWS; ++r) {
    float both = most[r];
#pragma unroll
    for (int u = 0; u < S::UNROLL; ++u) {
      // What is excluded counts for nothing, whatever the product is.
      const float t = tile.term[u][S::TERMS == 1 ? 0 : r];
      score[u][r] = t == -inf32() ? -inf32() : score[u][r] + t;
      // NaN isn't larger: it stays in the sums.
      both = score[u][r] > both ? score[u][r] : both;
    }
    const float old = join_factor(most[r], both);
    most[r] = both;
    sum[r] *= old;
#pragma unroll
    for (int i = 0; i < S::V; ++i) acc[r][i] *= old;
  }
#pragma unroll
  for (int u = 0; u < S::UNROLL; ++u) {
    float value[S::V];
    unpack(tile.value[u], value, tag);
#pragma unroll
    for (int r = 0; r < S::ROWS; ++r) {
      const float p = score[u][r] == -inf32() ? 0.0f : __expf(score[u][r] - most[r]);
      sum[r] += p;
#pragma unroll
      for (int i = 0; i < S::V; ++i) acc[r][i] = fmaf(p, value[i], acc[r][i]);
    }
  }
}

/// The block's keys for its rows; on return each lane's registers hold its share.
template <class S>
__device__ __forceinline__ void attend(const typename S::T* q, const typename S::T* k,
                                       const typename S::T* v, const typename S::Mask* mask,
                                       const AttentionStrides& st, float scale,
                                       float (&most)[S::ROWS], float (&sum)[S::ROWS],
                                       float (&acc)[S::ROWS][S::V]) {
  using T = typename S::T;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int batch = static_cast<int>(blockIdx.y) / S::HEADS;
  const int kv = static_cast<int>(blockIdx.y) % S::HEADS;
  const int d = lane % S::kLanes * S::V;
  const T* const keys = k + batch * st.k_batch + kv * st.k_head + d;
  const T* const values = v + batch * st.v_batch + kv * st.v_head + d;
  float query[S::ROWS][S::V];
  long long mask_at[S::ROWS];
  int limit[S::ROWS];
#pragma unroll
  for (int r = 0; r < S::ROWS; ++r) {
    const AttentionRow<S> row(static_cast<int>(blockIdx.z) * S::ROWS + r, st);
    unpack(*reinterpret_cast<const uint4*>(q + row.q + d), query[r], q);
#pragma unroll
    for (int i = 0; i < S::V; ++i) {
      query[r][i] *= scale;
      acc[r][i] = 0;
    }
    mask_at[r] = row.mask;
    limit[r] = S::CAUSAL ? row.position : S::S;
    most[r] = -inf32();
    sum[r] = 0;
  }
  // Of the block's tiles: tile t + 1 is on its way, and the mask of tile t + 2, while tile t is
  // added. Blocks take turns, so that all have work where only the first keys count.
  constexpr int kTiles = (S::S + S::kTile - 1) / S::kTile;
  KeyTile<S> now;
  KeyTile<S> next;
  const auto at = [&](int tile, int u) {
    return tile * S::kTile + u * S::WARPS * S::kKeys + warp * S::kKeys + lane / S::kLanes;
  };
  const auto load_terms = [&](int tile, float(&term)[S::UNROLL][S::TERMS]) {
#pragma unroll
    for (int u = 0; u < S::UNROLL; ++u) {
      const int j = at(tile, u);
#pragma unroll
      for (int r = 0; r < S::TERMS; ++r) {
        float t = j < S::S && j <= limit[r] ? 0.0f : -inf32();
        if (S::MASKED && t == 0.0f) t = mask_term(mask[mask_at[r] + j * st.m_column], 0.0f);
        term[u][r] = t;
      }
    }
  };
  const auto load_keys = [&](int tile, KeyTile<S>& to) {
#pragma unroll
    for (int u = 0; u < S::UNROLL; ++u) {
      to.key[u] = to.value[u] = make_uint4(0, 0, 0, 0);
      if (!any_row<S>(to.term[u])) continue;
      const long long j = at(tile, u);
      to.key[u] = *reinterpret_cast<const uint4*>(keys + j * st.k_row);
      to.value[u] = *reinterpret_cast<const uint4*>(values + j * st.v_row);
    }
  };
  // What a mask excludes counts as nothing, whatever it holds.
  const auto add = [&](KeyTile<S>& t) {
    bool any = false;
#pragma unroll
    for (int u = 0; u < S::UNROLL; ++u) {
      if (any_row<S>(t.term[u])) {
        any = true;
      } else {
        t.key[u] = t.value[u] = make_uint4(0, 0, 0, 0);
      }
    }
    if (__any_sync(0xffffffffu, any)) add_tile<S>(t, query, most, sum, acc);
  };
  const auto load_first = [&](int tile, KeyTile<S>& to) {
#pragma unroll
    for (int u = 0; u < S::UNROLL; ++u) {
      const long long j = at(tile, u) < S::S ? at(tile, u) : 0;
      to.key[u] = *reinterpret_cast<const uint4*>(keys + j * st.k_row);
      to.value[u] = *reinterpret_cast<const uint4*>(values + j * st.v_row);
    }
  };
  int tile = static_cast<int>(blockIdx.x);
  if constexpr (S::CLUSTER && kTiles <= 2 * S::SPLITS) {
    load_first(tile, now);
    load_first(tile + S::SPLITS, next);
    load_terms(tile, now.term);
    load_terms(tile + S::SPLITS, next.term);
    add(now);
    add(next);
    return;
  }
  if (S::CLUSTER) load_first(tile, now);
  load_terms(tile, now.term);
  if (!S::CLUSTER) load_keys(tile, now);
  load_terms(tile + S::SPLITS, next.term);
  for (; tile < kTiles; tile += S::SPLITS) {
    load_keys(tile + S::SPLITS, next);
    float term[S::UNROLL][S::TERMS];
    load_terms(tile + 2 * S::SPLITS, term);
    add(now);
    now = next;
#pragma unroll
    for (int u = 0; u < S::UNROLL; ++u) {
#pragma unroll
      for (int r = 0; r < S::TERMS; ++r) next.term[u][r] = term[u][r];
    }
  }
}

/// Sums of N values over lanes that differ in the bits from O down to LEAST, each lane left with as
/// few of them as possible: `leave(i, v)` takes value i.
template <int N, int O, int LEAST, class Leave>
__device__ __forceinline__ void scatter_sums(float* v, int first, const Leave& leave) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if constexpr (O < LEAST) {
#pragma unroll
    for (int i = 0; i < N; ++i) leave(first + i, v[i]);
  } else if constexpr (N % 2 == 0) {
    const bool upper = (lane & O) != 0;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      const float mine = upper ? v[i + N / 2] : v[i];
      const float theirs = upper ? v[i] : v[i + N / 2];
      v[i] = mine + __shfl_xor_sync(0xffffffffu, theirs, O);
    }
    scatter_sums<N / 2, O / 2, LEAST>(v, upper ? first + N / 2 : first, leave);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] += __shfl_xor_sync(0xffffffffu, v[i], O);
    scatter_sums<N, O / 2, LEAST>(v, first, [&](int i, float x) {
      if ((lane & O) == 0) leave(i, x);
    });
  }
}

/// Joins the shares of a warp's groups of lanes and leaves them in `mine`, ROWS partial rows.
template <class S>
__device__ __forceinline__ void join_warp(const float (&most)[S::ROWS], float (&sum)[S::ROWS],
                                          const float (&acc)[S::ROWS][S::V], float* mine) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float all[S::ROWS * S::V];
#pragma unroll
  for (int r = 0; r < S::ROWS; ++r) {
    float both = most[r];
#pragma unroll
    for (int o = 16; o >= S::kLanes; o >>= 1) {
      both = fmaxf(both, __shfl_xor_sync(0xffffffffu, both, o));
    }
    const float f = join_factor(most[r], both);
    sum[r] *= f;
#pragma unroll
    for (int o = 16; o >= S::kLanes; o >>= 1) sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], o);
#pragma unroll
    for (int i = 0; i < S::V; ++i) all[r * S::V + i] = acc[r][i] * f;
    if (lane == 0) {
      mine[r * S::kPart + S::D] = both;
      mine[r * S::kPart + S::D + 1] = sum[r];
    }
  }
  scatter_sums<S::ROWS * S::V, 16, S::kLanes>(all, 0, [&](int i, float v) {
    mine[i / S::V * S::kPart + lane % S::kLanes * S::V + i % S::V] = v;
  });
}

/// Element d of a row from COUNT parts; `read(p, i)` is float i of part p. Up to sixteen parts are
/// read at once.
template <class S, int COUNT, class Read>
__device__ __forceinline__ void join_parts(int d, Read read, float& most, float& sum,
                                           float& value) {
  constexpr int kAtOnce = COUNT < 16 ? COUNT : 16;
  most = -inf32();
  sum = 0;
  value = 0;
  for (int first = 0; first < COUNT; first += kAtOnce) {
    float m[kAtOnce];
    float s[kAtOnce];
    float v[kAtOnce];
#pragma unroll
    for (int p = 0; p < kAtOnce; ++p) {
      const bool inside = COUNT % kAtOnce == 0 || first + p < COUNT;
      m[p] = inside ? read(first + p, S::D) : -inf32();
      s[p] = inside ? read(first + p, S::D + 1) : 0.0f;
      v[p] = inside ? read(first + p, d) : 0.0f;
    }
    float both = most;
#pragma unroll
    for (int p = 0; p < kAtOnce; ++p) both = fmaxf(both, m[p]);
    const float old = join_factor(most, both);
    sum *= old;
    value *= old;
    most = both;
#pragma unroll
    for (int p = 0; p < kAtOnce; ++p) {
      const float f = join_factor(m[p], both);
      sum = fmaf(f, s[p], sum);
      value = fmaf(f, v[p], value);
    }
  }
}

/// The last of the blocks that share a row joins their parts.
template <class S, class Result>
__device__ __forceinline__ void join_blocks(const float* rows, unsigned* ticket,
                                            const Result& result) {
  __shared__ unsigned is_last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    is_last = atomicAdd(ticket, 1u) == static_cast<unsigned>(S::SPLITS) - 1;
  }
  __syncthreads();
  if (is_last == 0) return;
  __threadfence();
  for (int t = static_cast<int>(threadIdx.x); t < S::ROWS * S::D; t += S::WARPS * 32) {
    const int r = t / S::D;
    float m;
    float s;
    float value;
    join_parts<S, S::SPLITS>(
        t % S::D,
        [&](int p, int i) { return load_coherent(rows + (p * S::ROWS + r) * S::kPart + i); }, m, s,
        value);
    result(r, t % S::D, s, value);
  }
  if (threadIdx.x == 0) *ticket = 0;
}

template <class S>
__device__ __forceinline__ void attention(const typename S::T* q, const typename S::T* k,
                                          const typename S::T* v, const typename S::Mask* mask,
                                          typename S::Out* out, const AttentionStrides& st,
                                          float scale, float* parts, unsigned* tickets) {
  constexpr int kThreads = S::WARPS * 32;
  constexpr bool kCluster = S::CLUSTER && S::SPLITS > 1;
  __shared__ float shares[S::WARPS * S::ROWS * S::kPart];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  // A block's shared memory may be written once the block runs.
  if constexpr (kCluster) cluster_arrive<S::SPLITS>();
  pdl_launch();
  if (S::CLUSTER) fetch_keys<S>(k, v, st);
  const auto result = [&](int r, int d, float s, float value) {
    const AttentionRow<S> row(static_cast<int>(blockIdx.z) * S::ROWS + r, st);
    // A row that may look at nothing is zero, as LibTorch has it.
    if (row.live) out[row.o + d] = convert<typename S::Out>(s == 0.0f ? 0.0f : value / s);
  };
  __shared__ float gathered[kCluster ? S::SPLITS * S::ROWS * S::kPart : 1];
  const int rank = static_cast<int>(blockIdx.x);
  const int group = static_cast<int>(blockIdx.y * gridDim.z + blockIdx.z);
  float* const rows = parts + static_cast<long long>(group) * S::SPLITS * S::ROWS * S::kPart;
  pdl_wait();
  float most[S::ROWS];
  float sum[S::ROWS];
  float acc[S::ROWS][S::V];
  attend<S>(q, k, v, mask, st, scale, most, sum, acc);
  join_warp<S>(most, sum, acc, shares + warp * S::ROWS * S::kPart);
  __syncthreads();
  if constexpr (kCluster) cluster_wait();
  for (int t = static_cast<int>(threadIdx.x); t < S::ROWS * S::D; t += kThreads) {
    const int r = t / S::D;
    const int d = t % S::D;
    float m;
    float s;
    float value;
    join_parts<S, S::WARPS>(
        d, [&](int p, int i) { return shares[(p * S::ROWS + r) * S::kPart + i]; }, m, s, value);
    if constexpr (S::SPLITS == 1) {
      result(r, d, s, value);
    } else if constexpr (kCluster) {
      float* const mine = gathered + (rank * S::ROWS + r) * S::kPart;
      cluster_store<S::SPLITS>(mine + d, 0, value);
      if (d != 0) continue;
      cluster_store<S::SPLITS>(mine + S::D, 0, m);
      cluster_store<S::SPLITS>(mine + S::D + 1, 0, s);
    } else {
      float* const mine = rows + (rank * S::ROWS + r) * S::kPart;
      mine[d] = value;
      if (d != 0) continue;
      mine[S::D] = m;
      mine[S::D + 1] = s;
    }
  }
  if constexpr (kCluster) {
    cluster_arrive<S::SPLITS>();
    cluster_wait();
    if (rank != 0) return;
    for (int t = static_cast<int>(threadIdx.x); t < S::ROWS * S::D; t += kThreads) {
      const int r = t / S::D;
      float m;
      float s;
      float value;
      join_parts<S, S::SPLITS>(
          t % S::D, [&](int p, int i) { return gathered[(p * S::ROWS + r) * S::kPart + i]; }, m, s,
          value);
      result(r, t % S::D, s, value);
    }
  } else if constexpr (S::SPLITS > 1) {
    join_blocks<S>(rows, tickets + group, result);
  }
}

}  // namespace mg
