// Attention with the keys split over blocks (Dao et al., "Flash-Decoding", 2023): each block goes
// once over its keys and values with a running softmax for a few query rows that share them, and
// the parts are put together in a fixed order: by the first block of a cluster, whose others write
// theirs into its shared memory, or by the last block to finish.
#pragma once

#include "mg/attention_tensor.cuh"

namespace mg {

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
      // One mask for all rows: an excluded key is zero. Else another row may look at it.
      score[u][r] = S::TERMS > 1 && t == -inf32() ? t : score[u][r] + t;
      both = fmaxf(score[u][r], both);  // NaN isn't larger: it stays in the sums
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
      const float p = __expf(score[u][r] - most[r]);
      sum[r] += p;
#pragma unroll
      for (int i = 0; i < S::V; ++i) acc[r][i] = fmaf(p, value[i], acc[r][i]);
    }
  }
}

/// The keys of this lane, tile by tile of its block, and the copies of them under way. Blocks take
/// turns at tiles, so that all have work where only the first keys count. What a thread copies it
/// reads itself, so it waits for nobody.
template <class S>
class Keys {
 public:
  __device__ __forceinline__ Keys(const typename S::T* k, const typename S::T* v,
                                  const AttentionStrides& st, uint4* ring)
      : ring_(ring), k_row_(st.k_row), v_row_(st.v_row) {
    const int batch = static_cast<int>(blockIdx.y) / S::HEADS;
    const int kv = static_cast<int>(blockIdx.y) % S::HEADS;
    const int d = static_cast<int>(threadIdx.x) % S::kLanes * S::V;
    k_ = k + batch * st.k_batch + kv * st.k_head + d;
    v_ = v + batch * st.v_batch + kv * st.v_head + d;
  }

  /// Step u of the block's tile i.
  __device__ __forceinline__ int at(int i, int u) const {
    const int tile = static_cast<int>(blockIdx.x) + i * S::SPLITS;
    return tile * S::kTile + u * S::WARPS * S::kKeys + static_cast<int>(threadIdx.x) / S::kLanes;
  }
  __device__ __forceinline__ void copy(int i, int u) const {
    uint4* const to = slot(i, u);
    copy_async(to, k_ + at(i, u) * k_row_);
    copy_async(to + kThreads, v_ + at(i, u) * v_row_);
  }
  /// The first tiles, whatever the mask will say.
  __device__ __forceinline__ void copy_first() const {
#pragma unroll
    for (int i = 0; i < S::DEPTH; ++i) {
#pragma unroll
      for (int u = 0; u < S::UNROLL; ++u) {
        if (at(i, u) < S::S) copy(i, u);
      }
      copy_async_commit();
    }
  }
  /// What was copied, or what is there now of the row that this block has just written; nothing
  /// where no row looks.
  __device__ __forceinline__ void read(int i, long long newest, KeyTile<S>& to) const {
#pragma unroll
    for (int u = 0; u < S::UNROLL; ++u) {
      to.key[u] = to.value[u] = make_uint4(0, 0, 0, 0);
      if (!any_row<S>(to.term[u])) continue;
      const long long j = at(i, u);
      const uint4* const from = slot(i, u);
      to.key[u] = j == newest ? *reinterpret_cast<const uint4*>(k_ + j * k_row_) : from[0];
      to.value[u] = j == newest ? *reinterpret_cast<const uint4*>(v_ + j * v_row_) : from[kThreads];
    }
  }

 private:
  static constexpr int kThreads = S::WARPS * 32;

  __device__ __forceinline__ uint4* slot(int i, int u) const {
    return ring_ + (i % S::DEPTH * S::UNROLL + u) * 2 * kThreads + threadIdx.x;
  }

  uint4* ring_;
  const typename S::T* k_;
  const typename S::T* v_;
  long long k_row_, v_row_;
};

/// The block's keys for its rows; on return each lane's registers hold its share.
template <class S, class Before>
__device__ __forceinline__ void attend(const typename S::T* q, const typename S::T* k,
                                       const typename S::T* v, const typename S::Mask* mask,
                                       const AttentionStrides& st, float scale,
                                       const Before& before, uint4* ring, float (&most)[S::ROWS],
                                       float (&sum)[S::ROWS], float (&acc)[S::ROWS][S::V]) {
  const Keys<S> keys(k, v, st, ring);
  if (!S::EARLY) pdl_wait();
  keys.copy_first();
  if (S::EARLY) pdl_wait();
  long long mask_at[S::ROWS];
  int limit[S::ROWS];
#pragma unroll
  for (int r = 0; r < S::ROWS; ++r) {
    const AttentionRow<S> row(static_cast<int>(blockIdx.z) * S::ROWS + r, st);
    mask_at[r] = row.mask;
    limit[r] = S::CAUSAL ? row.position : S::S;
  }
  const auto load_terms = [&](int i, float(&term)[S::UNROLL][S::TERMS]) {
#pragma unroll
    for (int u = 0; u < S::UNROLL; ++u) {
      const int j = keys.at(i, u);
#pragma unroll
      for (int r = 0; r < S::TERMS; ++r) {
        float t = j < S::S && j <= limit[r] ? 0.0f : -inf32();
        if (S::MASKED && t == 0.0f) t = mask_term(mask[mask_at[r] + j * st.m_column], 0.0f);
        term[u][r] = t;
      }
    }
  };
  // Tiles go by groups of as many as are on their way. The next group's mask is loaded before this
  // one is added, so that nobody waits for a mask but at the start.
  float now[S::DEPTH][S::UNROLL][S::TERMS];
  float later[S::DEPTH][S::UNROLL][S::TERMS];
#pragma unroll
  for (int d = 0; d < S::DEPTH; ++d) load_terms(d, now[d]);
  const long long newest = do_before<S>(before);
  float query[S::ROWS][S::V];
#pragma unroll
  for (int r = 0; r < S::ROWS; ++r) {
    const AttentionRow<S> row(static_cast<int>(blockIdx.z) * S::ROWS + r, st);
    const int d = static_cast<int>(threadIdx.x) % S::kLanes * S::V;
    unpack(*reinterpret_cast<const uint4*>(q + row.q + d), query[r], q);
#pragma unroll
    for (int i = 0; i < S::V; ++i) {
      query[r][i] *= scale;
      acc[r][i] = 0;
    }
    most[r] = lowest32();
    sum[r] = 0;
  }
#pragma unroll 1
  for (int first = 0; first < S::kMine; first += S::DEPTH) {
#pragma unroll
    for (int d = 0; d < S::DEPTH; ++d) load_terms(first + S::DEPTH + d, later[d]);
#pragma unroll
    for (int d = 0; d < S::DEPTH; ++d) {
      KeyTile<S> tile;
      bool any = false;
#pragma unroll
      for (int u = 0; u < S::UNROLL; ++u) {
#pragma unroll
        for (int r = 0; r < S::TERMS; ++r) tile.term[u][r] = now[d][u][r];
        any = any || any_row<S>(tile.term[u]);
      }
      copy_async_wait<S::DEPTH - 1>();
      keys.read(first + d, newest, tile);
      if (__any_sync(0xffffffffu, any)) add_tile<S>(tile, query, most, sum, acc);
#pragma unroll
      for (int u = 0; u < S::UNROLL; ++u) {
        if (any_row<S>(later[d][u])) keys.copy(first + S::DEPTH + d, u);
#pragma unroll
        for (int r = 0; r < S::TERMS; ++r) now[d][u][r] = later[d][u][r];
      }
      copy_async_commit();
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
  most = lowest32();
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

template <class S, class Before>
__device__ __forceinline__ void attention(const typename S::T* q, const typename S::T* k,
                                          const typename S::T* v, const typename S::Mask* mask,
                                          typename S::Out* out, const AttentionStrides& st,
                                          float scale, const Before& before, uint4* ring,
                                          float* parts, unsigned* tickets) {
  constexpr int kThreads = S::WARPS * 32;
  constexpr bool kCluster = S::CLUSTER && S::SPLITS > 1;
  __shared__ float shares[S::WARPS * S::ROWS * S::kPart];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  // A block's shared memory may be written once the block runs.
  if constexpr (kCluster) cluster_started<S::SPLITS>();
  pdl_launch();
  const auto result = [&](int r, int d, float s, float value) {
    const AttentionRow<S> row(static_cast<int>(blockIdx.z) * S::ROWS + r, st);
    // A row that may look at nothing is zero, as LibTorch has it.
    if (row.live) out[row.o + d] = convert<typename S::Out>(s == 0.0f ? 0.0f : value / s);
  };
  __shared__ float gathered[kCluster ? S::SPLITS * S::ROWS * S::kPart : 1];
  const int rank = static_cast<int>(blockIdx.x);
  const int group = static_cast<int>(blockIdx.y * gridDim.z + blockIdx.z);
  float* const rows = parts + static_cast<long long>(group) * S::SPLITS * S::ROWS * S::kPart;
  float* const mine = shares + warp * S::ROWS * S::kPart;
  if constexpr (S::TENSOR) {
    attend_tensor<S>(q, k, v, mask, st, scale, before, ring, mine);
  } else {
    float most[S::ROWS];
    float sum[S::ROWS];
    float acc[S::ROWS][S::V];
    attend<S>(q, k, v, mask, st, scale, before, ring, most, sum, acc);
    join_warp<S>(most, sum, acc, mine);
  }
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
