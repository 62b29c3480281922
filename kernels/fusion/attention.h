// Recognises attention with the copies and casts of its result that follow, and with what makes its
// query and its keys' newest row before it, for all kernels of it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/registry.h"

namespace monograph::kernels::fusion {

inline constexpr const char* kAttentionOp = "aten.scaled_dot_product_attention.default";

/// Attention over operands as a kernel sees them: q [batch, heads * group, rows, size], k and v
/// [batch, heads, keys, size], whose elements of `size` are neighbours and can be read 16 bytes at
/// a time. Strides in elements.
struct Attention {
  using Strides = std::array<std::int64_t, 4>;

  std::int32_t q = -1, k = -1, v = -1, mask = -1;  ///< indices into Call::inputs; no mask: -1
  /// The body's steps before it. If there are some they may compute the query (q is -1 then, and
  /// its elements lie dense) and write rows of k and v.
  std::size_t steps_before = 0;
  std::int64_t batch = 1, heads = 1, group = 1, rows = 1, keys = 1, size = 1;
  Strides q_strides{}, k_strides{}, v_strides{}, mask_strides{};
  Strides out_strides{};  ///< of the call's result, where the copies put each element
  DType dtype = DType::kF32, mask_dtype = DType::kBool;
  bool causal = false;
  double scale = 1;

  /// Whether all rows that share keys look at the same ones.
  bool same_mask() const noexcept;
};

/// Reads `call`; the reason if it is something else or its layout doesn't suit.
std::string read_attention(const Call& call, Attention& a);

/// Source text: mg::AttentionStrides of that name, `strides`.
std::string attention_strides(const Attention& a);

/// Bytes of everything and operations of both products.
Roofline attention_roofline(const Attention& a);

// --- samples ---
struct AttentionSizes {
  std::int64_t batch, heads, group, rows, keys, size;
};
Call attention_call(DType dtype, const AttentionSizes& sizes);
/// With a mask of `sizes`.
Call masked(Call c, DType dtype, std::vector<std::int64_t> sizes);
/// Heads next to each other in memory, before and after, as encoders have them.
Call transposed_attention(Call c);

}  // namespace monograph::kernels::fusion
