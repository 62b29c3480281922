// Warp-wide matrix instructions, with the fragment layouts of the PTX manual.
#pragma once

namespace simt {

struct HalfMath {
  static float widen(uint32_t pair, int i) { return half_to_float(uint16_t(pair >> (16 * i))); }
};
struct Bf16Math {
  static float widen(uint32_t pair, int i) { return bf16_to_float(uint16_t(pair >> (16 * i))); }
};

struct MmaOperands {
  uint32_t a[4], b[2];
};

/// mma.sync.aligned.m16n8k16.row.col.f32.{f16,bf16}.{f16,bf16}.f32: D = A B + C.
/// Lane l holds, with g = l / 4 and t = l % 4: rows g and g + 8 and columns 2t, 2t + 1 (+ 8) of A;
/// rows 2t, 2t + 1 (+ 8) of column g of B; rows g and g + 8, columns 2t and 2t + 1 of C and D.
/// Products are summed in double and rounded once; hardware sums in an order of its own.
template <class Math>
inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                         const float (&c)[4], int line = __builtin_LINE()) {
  MmaOperands own;
  memcpy(own.a, a, sizeof own.a);
  memcpy(own.b, b, sizeof own.b);
  const auto* all = static_cast<const MmaOperands*>(core().gather(&own, sizeof own, line));
  const int g = lane() / 4, t = lane() % 4;
  for (int i = 0; i < 4; ++i) {
    const int half_row = i / 2, column = 2 * t + i % 2;
    double sum = c[i];
    for (int k = 0; k < 16; ++k) {
      const int owner = k % 8 / 2;
      const float x = Math::widen(all[g * 4 + owner].a[half_row + 2 * (k / 8)], k % 2);
      const float y = Math::widen(all[column * 4 + owner].b[k / 8], k % 2);
      sum += double(x) * y;
    }
    d[i] = float(sum);
  }
}
inline void mma_m16n8k16_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                             const float (&c)[4], int line = __builtin_LINE()) {
  mma_m16n8k16<HalfMath>(d, a, b, c, line);
}
inline void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                              const float (&c)[4], int line = __builtin_LINE()) {
  mma_m16n8k16<Bf16Math>(d, a, b, c, line);
}

/// ldmatrix.sync.aligned.m8n8.x{1,2,4}[.trans].shared.b16: lane 8i + r names row r (16 bytes) of
/// matrix i; each lane receives two neighbouring elements of one row, or column with `Transposed`.
template <int N, bool Transposed = false>
inline void ldmatrix(uint32_t (&out)[N], const void* row, int line = __builtin_LINE()) {
  static_assert(N == 1 || N == 2 || N == 4);
  if (lane() < 8 * N && reinterpret_cast<uintptr_t>(row) % 16) {
    core().fail("ldmatrix of a misaligned row", line);
  }
  if (lane() < 8 * N) touch(row, 16, kRead);
  const auto* rows = static_cast<const void* const*>(core().gather(&row, sizeof row, line));
  for (int i = 0; i < N; ++i) {
    uint16_t pair[2];
    for (int j = 0; j < 2; ++j) {
      const int r = Transposed ? 2 * (lane() % 4) + j : lane() / 4;
      const int c = Transposed ? lane() / 4 : 2 * (lane() % 4) + j;
      memcpy(&pair[j], static_cast<const char*>(rows[8 * i + r]) + 2 * c, 2);
    }
    out[i] = uint32_t(pair[1]) << 16 | pair[0];
  }
  core().collective(Op::kGather, ~0u, 0, 0, line);  // rows may be overwritten once all have read
}

}  // namespace simt
