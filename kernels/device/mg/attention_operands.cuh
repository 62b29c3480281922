// What the kernels of attention read and write, and where each row of theirs lies.
#pragma once

#include "mg/elementwise.cuh"

namespace mg {

/// q [B, H, L, D], k and v [B, H / GROUP, S, D], elements of D adjacent; strides in elements.
struct AttentionStrides {
  long long q_batch, q_head, q_row;
  long long k_batch, k_head, k_row;
  long long v_batch, v_head, v_row;
  long long o_batch, o_head, o_row;
  long long m_batch, m_head, m_row, m_column;  // of the mask
};

/// What an element of a mask adds to a score.
__device__ __forceinline__ float mask_term(bool m, float) {
  return m ? 0.0f : -inf32();
}
template <class M>
__device__ __forceinline__ float mask_term(M m, float) {
  return convert<float>(m);
}

/// Row `row` of those that share the keys of this block (blockIdx.y): neighbouring queries of each
/// head of a group.
template <class S>
struct AttentionRow {
  long long q, o, mask;
  int position;
  bool live;

  __device__ __forceinline__ AttentionRow(int row, const AttentionStrides& s) {
    const int batch = static_cast<int>(blockIdx.y) / S::HEADS;
    const int kv = static_cast<int>(blockIdx.y) % S::HEADS;
    live = row < S::kAllRows;
    row = live ? row : S::kAllRows - 1;
    const int head = kv * S::GROUP + row / S::L;
    position = row % S::L;
    q = batch * s.q_batch + head * s.q_head + position * s.q_row;
    o = batch * s.o_batch + head * s.o_head + position * s.o_row;
    mask = batch * s.m_batch + head * s.m_head + position * s.m_row;
  }
};

}  // namespace mg
