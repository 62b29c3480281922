// Keys of attention's blocks on the tensor cores, for up to eight query rows of halves that look at
// the same keys.
//
// A warp takes sixteen keys at a time; the rows are the first eight of m16n8k16 products, whose
// other eight are zero. Which eight elements of a key a lane reads, 16 bytes at a time, permutes
// the inner index of two products alike for queries and keys; which element of a value a product's
// column stands for is chosen so that a lane reads 16 bytes of each of the four keys whose weights
// it has. What a thread copies into shared memory it reads itself, so it waits for nobody.
#pragma once

#include "mg/attention_shape.cuh"

namespace mg {

template <class S>
class TensorKeys {
 public:
  static constexpr int kChunks = S::D / 32;                 // of a key, a lane
  static constexpr int kPieces = S::D / 64;                 // of a value, a lane
  static constexpr int kSlots = 2 * kChunks + 4 * kPieces;  // of 16 keys, a lane

  __device__ __forceinline__ TensorKeys(const typename S::T* k, const typename S::T* v,
                                        const AttentionStrides& st, uint4* ring)
      : ring_(ring), k_row_(st.k_row), v_row_(st.v_row) {
    const int batch = static_cast<int>(blockIdx.y) / S::HEADS;
    const int kv = static_cast<int>(blockIdx.y) % S::HEADS;
    warp_ = static_cast<int>(threadIdx.x) / 32;
    g_ = static_cast<int>(threadIdx.x) % 32 / 4;
    t_ = static_cast<int>(threadIdx.x) % 4;
    k_ = k + batch * st.k_batch + kv * st.k_head + t_ * 8;
    v_ = v + batch * st.v_batch + kv * st.v_head + g_ * 8;
  }

  /// The key whose elements the lane reads for product `h` of the block's tile i.
  __device__ __forceinline__ int key(int i, int h) const { return first(i) + h * 8 + g_; }
  /// The keys whose weights the lane has: 2t and 2t + 1 of each product.
  __device__ __forceinline__ int weighed(int i, int n) const {
    return first(i) + n / 2 * 8 + t_ * 2 + n % 2;
  }
  /// Starts copying the warp's keys of tile i; beyond the last one, its first again.
  __device__ __forceinline__ void copy(int i) const {
    if (first(i) >= S::S) return;
    uint4* const to = slot(i);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        copy_async(to + (h * kChunks + c) * kThreads, key_chunk(within(i, key(i, h)), c));
      }
    }
#pragma unroll
    for (int n = 0; n < 4; ++n) {
#pragma unroll
      for (int c = 0; c < kPieces; ++c) {
        copy_async(to + (2 * kChunks + n * kPieces + c) * kThreads,
                   value_piece(within(i, weighed(i, n)), c));
      }
    }
  }
  /// Chunk c of the lane's key, as it is now if this block has just written it.
  __device__ __forceinline__ uint4 read_key(int i, int h, int c, long long newest) const {
    return key(i, h) == newest ? *key_chunk(key(i, h), c) : slot(i)[(h * kChunks + c) * kThreads];
  }
  __device__ __forceinline__ uint4 read_value(int i, int n, int c, long long newest) const {
    return weighed(i, n) == newest ? *value_piece(weighed(i, n), c)
                                   : slot(i)[(2 * kChunks + n * kPieces + c) * kThreads];
  }

 private:
  static constexpr int kThreads = S::WARPS * 32;

  __device__ __forceinline__ int first(int i) const {
    return (static_cast<int>(blockIdx.x) + i * S::SPLITS) * S::kTile + warp_ * 16;
  }
  __device__ __forceinline__ int within(int i, int j) const {
    return j < S::S ? j : first(i);
  }
  __device__ __forceinline__ uint4* slot(int i) const {
    return ring_ + i % S::DEPTH * kSlots * kThreads + threadIdx.x;
  }
  __device__ __forceinline__ const uint4* key_chunk(int j, int c) const {
    return reinterpret_cast<const uint4*>(k_ + j * k_row_ + c * 32);
  }
  __device__ __forceinline__ const uint4* value_piece(int j, int c) const {
    return reinterpret_cast<const uint4*>(v_ + j * v_row_ + c * 64);
  }

  uint4* ring_;
  const typename S::T* k_;
  const typename S::T* v_;
  long long k_row_, v_row_;
  int warp_, g_, t_;
};

/// A warp's running softmax: of row lane / 4, whose four lanes share it.
template <class S>
struct TensorSums {
  float most = lowest32();
  float sum = 0;
  float acc[TensorKeys<S>::kPieces * 8][4] = {};  // by product: two columns of the row, zeros
};

/// Scores of the lane's four keys of tile i, with their mask.
template <class S>
__device__ __forceinline__ void score_keys(const TensorKeys<S>& keys, int i,
                                           const uint4 (&query)[TensorKeys<S>::kChunks],
                                           const float (&term)[4], float scale, long long newest,
                                           float (&score)[4]) {
  const typename S::T* const tag = nullptr;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float sums[4] = {};
#pragma unroll
    for (int c = 0; c < TensorKeys<S>::kChunks; ++c) {
      const uint4 key = keys.read_key(i, h, c, newest);
      const unsigned a0[4] = {query[c].x, 0, query[c].y, 0};
      const unsigned a1[4] = {query[c].z, 0, query[c].w, 0};
      const unsigned b0[2] = {key.x, key.y};
      const unsigned b1[2] = {key.z, key.w};
      mma(sums, a0, b0, tag);
      mma(sums, a1, b1, tag);
    }
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float t = term[h * 2 + e];
      // What is excluded counts for nothing, whatever the product is.
      score[h * 2 + e] = t == -inf32() ? t : fmaf(sums[e], scale, t);
    }
  }
}

/// Adds values with the weights of `score`.
template <class S>
__device__ __forceinline__ void weigh_values(const TensorKeys<S>& keys, int i,
                                             const float (&score)[4], long long newest,
                                             TensorSums<S>& sums) {
  float both = sums.most;
#pragma unroll
  for (int n = 0; n < 4; ++n) both = fmaxf(score[n], both);  // NaN isn't larger: it stays
  both = fmaxf(both, __shfl_xor_sync(0xffffffffu, both, 1));
  both = fmaxf(both, __shfl_xor_sync(0xffffffffu, both, 2));
  const float old = join_factor(sums.most, both);
  sums.most = both;
  sums.sum *= old;
  float p[4];
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    p[n] = __expf(score[n] - both);
    sums.sum += p[n];
  }
  const unsigned a[4] = {pack_pair<typename S::T>(p[0], p[1]), 0,
                         pack_pair<typename S::T>(p[2], p[3]), 0};
#pragma unroll
  for (int c = 0; c < TensorKeys<S>::kPieces; ++c) {
    unsigned v[4][4];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const uint4 x =
          score[n] == -inf32() ? make_uint4(0, 0, 0, 0) : keys.read_value(i, n, c, newest);
      v[n][0] = x.x;
      v[n][1] = x.y;
      v[n][2] = x.z;
      v[n][3] = x.w;
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const unsigned halves = j % 2 == 0 ? 0x5410u : 0x7632u;
      const unsigned b[2] = {__byte_perm(v[0][j / 2], v[1][j / 2], halves),
                             __byte_perm(v[2][j / 2], v[3][j / 2], halves)};
      float(&acc)[4] = sums.acc[c * 8 + j];
      acc[0] *= old;
      acc[1] *= old;
      mma(acc, a, b, static_cast<const typename S::T*>(nullptr));
    }
  }
}

/// Leaves the warp's partial rows in `mine`.
template <class S>
__device__ __forceinline__ void leave_sums(TensorSums<S>& sums, float* mine) {
  const int g = static_cast<int>(threadIdx.x) % 32 / 4;
  const int t = static_cast<int>(threadIdx.x) % 4;
  sums.sum += __shfl_xor_sync(0xffffffffu, sums.sum, 1);
  sums.sum += __shfl_xor_sync(0xffffffffu, sums.sum, 2);
  if (g >= S::ROWS) return;
  float* const row = mine + g * S::kPart;
  if (t == 0) {
    row[S::D] = sums.most;
    row[S::D + 1] = sums.sum;
  }
#pragma unroll
  for (int c = 0; c < TensorKeys<S>::kPieces; ++c) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      row[c * 64 + t * 16 + j] = sums.acc[c * 8 + j][0];
      row[c * 64 + t * 16 + 8 + j] = sums.acc[c * 8 + j][1];
    }
  }
}

/// The block's keys for its rows, which look at the same ones; the warp's share goes to `mine`.
template <class S, class Before>
__device__ __forceinline__ void attend_tensor(const typename S::T* q, const typename S::T* k,
                                              const typename S::T* v, const typename S::Mask* mask,
                                              const AttentionStrides& st, float scale,
                                              const Before& before, uint4* ring, float* mine) {
  const TensorKeys<S> keys(k, v, st, ring);
  if (!S::EARLY) pdl_wait();
#pragma unroll
  for (int i = 0; i < S::DEPTH; ++i) {
    keys.copy(i);
    copy_async_commit();
  }
  if (S::EARLY) pdl_wait();
  const AttentionRow<S> first(static_cast<int>(blockIdx.z) * S::ROWS, st);
  const auto load_terms = [&](int i, float(&term)[4]) {
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int j = keys.weighed(i, n);
      term[n] = j < S::S ? 0.0f : -inf32();
      if (S::MASKED && j < S::S) term[n] = mask_term(mask[first.mask + j * st.m_column], 0.0f);
    }
  };
  float now[S::DEPTH][4];
#pragma unroll
  for (int d = 0; d < S::DEPTH; ++d) load_terms(d, now[d]);
  const long long newest = do_before<S>(before);
  uint4 query[TensorKeys<S>::kChunks];
  {
    const int g = static_cast<int>(threadIdx.x) % 32 / 4;
    const int r = static_cast<int>(blockIdx.z) * S::ROWS + g;
    const bool live = g < S::ROWS && r < S::kAllRows;
    const AttentionRow<S> row(live ? r : 0, st);
#pragma unroll
    for (int c = 0; c < TensorKeys<S>::kChunks; ++c) {
      const int d = (c * 4 + static_cast<int>(threadIdx.x) % 4) * 8;
      query[c] = live ? *reinterpret_cast<const uint4*>(q + row.q + d) : make_uint4(0, 0, 0, 0);
    }
  }
  TensorSums<S> sums;
#pragma unroll 1
  for (int group = 0; group < S::kMine; group += S::DEPTH) {
    float later[S::DEPTH][4];
#pragma unroll
    for (int d = 0; d < S::DEPTH; ++d) load_terms(group + S::DEPTH + d, later[d]);
#pragma unroll
    for (int d = 0; d < S::DEPTH; ++d) {
      const auto counts = [](const float(&term)[4]) {
        return __any_sync(0xffffffffu, term[0] != -inf32() || term[1] != -inf32() ||
                                           term[2] != -inf32() || term[3] != -inf32()) != 0;
      };
      copy_async_wait<S::DEPTH - 1>();
      if (counts(now[d])) {
        float score[4];
        score_keys<S>(keys, group + d, query, now[d], scale, newest, score);
        weigh_values<S>(keys, group + d, score, newest, sums);
      }
      if (counts(later[d])) keys.copy(group + S::DEPTH + d);
      copy_async_commit();
#pragma unroll
      for (int n = 0; n < 4; ++n) now[d][n] = later[d][n];
    }
  }
  leave_sums<S>(sums, mine);
}

}  // namespace mg
