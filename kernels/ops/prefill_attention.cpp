// Scaled dot product attention of many queries of halves, on the tensor cores.
#include <fmt/format.h>

#include <algorithm>

#include "kernels/elementwise/definitions.h"
#include "kernels/fusion/attention.h"

namespace monograph::kernels {
namespace {

using fusion::Attention;

constexpr std::int64_t kRows = 16;        // of a warp, of a head's queries and those of its group
constexpr std::int64_t kMostRows = 1024;  // queries beyond which a library does better
constexpr std::int64_t kMostSize = 128;   // elements of a head: a warp's registers hold its rows
constexpr std::int64_t kLargeSize = 64;   // beyond it they hold fewer keys at a time
constexpr std::int64_t kFewRows = 64;     // that leave most of the device to those who split
constexpr std::int64_t kManyKeys = 1024;  // as many keys as these over blocks
constexpr std::int64_t kMostWarps = 8;    // of a block
constexpr std::int64_t kMostLoopingWarps = 4;
constexpr std::int64_t kMostRowWarps = 4;
constexpr std::int64_t kBusy = 12;  // warps of a multiprocessor, which registers allow
constexpr std::int64_t kShared = 48 << 10;

/// Warps of a block.
struct Shares {
  std::int64_t rows = 1;  ///< with rows of their own
  std::int64_t keys = 1;  ///< that share the keys of the same rows
  bool once = false;      ///< each has one tile of keys
  std::int64_t count() const { return rows * keys; }
};

std::int64_t pieces(std::int64_t n, std::int64_t of) {
  return (n + of - 1) / of;
}

std::int64_t keys_of_tile(const Attention& a) {
  return a.size <= kLargeSize ? 32 : 16;
}

/// Blocks of few rows until every multiprocessor has one; as many warps for their keys as leave all
/// multiprocessors busy, an even share for each. Warps that go from tile to tile hold the next one
/// beside what they have, in as many registers as leave room for fewer warps.
Shares shares_of(const Attention& a, const Target& target) {
  const std::int64_t all = pieces(a.group * a.rows, kRows) * a.batch * a.heads;
  const std::int64_t tiles = pieces(a.keys, keys_of_tile(a));
  Shares s;
  while (s.rows < kMostRowWarps && all >= 2 * s.rows * target.multiprocessors) s.rows *= 2;
  const std::int64_t fit = kShared / (s.rows * kRows * (a.size + 2) * 4);
  const std::int64_t busy = kBusy * target.multiprocessors / all;
  s.keys = std::clamp<std::int64_t>(std::min(fit, busy), 1, kMostWarps / s.rows);
  if (s.keys < tiles) s.keys = std::min(s.keys, kMostLoopingWarps / s.rows);
  s.keys = pieces(tiles, pieces(tiles, s.keys));
  s.once = s.keys == tiles;
  return s;
}

/// Blocks of a multiprocessor that registers are kept for.
int blocks_of(const Attention& a, const Shares& s) {
  if (a.size > kLargeSize) return 1;
  return s.once ? 2 : static_cast<int>(kBusy / kMostLoopingWarps);
}

/// Whether results can be stored 16 bytes at a time.
bool is_wide(const TensorDesc& out, const Attention& a) {
  if ((!is_half(out.dtype) && out.dtype != DType::kF32) || out.alignment < 16) return false;
  const std::int64_t sizes[] = {a.batch, a.heads * a.group, a.rows};
  for (std::size_t d = 0; d < 3; ++d) {
    if (sizes[d] > 1 && a.out_strides[d] * itemsize(out.dtype) % 16 != 0) return false;
  }
  return true;
}

std::string source_text(const Call& call, const Attention& a, const Shares& shares) {
  const bool masked = a.mask >= 0;
  const std::string type(device_type(a.dtype));
  const std::string out(device_type(call.outputs[0].dtype));
  const std::string mask(device_type(masked ? a.mask_dtype : DType::kBool));
  std::string s = "#include \"mg/device.cuh\"\n#include \"mg/prefill_attention.cuh\"\n\n";
  s += fmt::format(
      "using Shape = mg::PrefillShape<{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, "
      "{}>;\n",
      type, out, mask, a.size, a.group, a.heads, a.rows, a.keys, shares.rows, shares.keys,
      keys_of_tile(a), a.causal, masked, a.mask_strides[1] == 0 && a.mask_strides[2] == 0,
      is_wide(call.outputs[0], a));
  s += fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({}, {}) mg_prefill_attention(const {}* q, "
      "const {}* k, const {}* v, ",
      shares.count() * 32, blocks_of(a, shares), type, type, type);
  if (masked) s += fmt::format("const {}* mask, ", mask);
  s += fmt::format("{}* out) {{\n", out) + fusion::attention_strides(a);
  s += fmt::format("  mg::prefill_attention<Shape>(q, k, v, {}, out, strides, {:a}f);\n}}\n",
                   masked ? "mask" : "static_cast<const bool*>(nullptr)", a.scale);
  return s + "KERNEL_EXPORT(mg_prefill_attention)\n";
}

std::string unsuitable(const Attention& a) {
  if (!is_half(a.dtype)) return "dtype " + std::string(dtype_name(a.dtype));
  const std::int64_t rows = a.group * a.rows;
  if (a.steps_before > 0) return "steps before attention";
  if (a.size % 16 != 0 || a.size > kMostSize) return fmt::format("heads of {} elements", a.size);
  if (rows < kRows || a.rows > kMostRows) return fmt::format("{} queries", a.rows);
  if (rows < kFewRows && a.keys > kManyKeys) {
    return fmt::format("{} keys for {} queries", a.keys, rows);
  }
  return a.batch * a.heads > 65535 ? "too many heads" : "";
}

Match match(const Call& call, const Target& target) {
  Attention a;
  std::string why = fusion::read_attention(call, a);
  if (why.empty()) why = unsuitable(a);
  if (!why.empty()) return Match::no(std::move(why));
  const Shares shares = shares_of(a, target);
  Instance i;
  i.source = "mg_prefill_attention.cu";
  i.text = source_text(call, a, shares);
  i.entry = "mg_prefill_attention";
  i.geometry.grid = {static_cast<std::uint32_t>(pieces(a.group * a.rows, kRows * shares.rows)),
                     static_cast<std::uint32_t>(a.batch * a.heads), 1};
  i.geometry.block = {static_cast<std::uint32_t>(shares.count() * 32), 1, 1};
  i.geometry.programmatic = true;
  i.params = {Param::input(a.q), Param::input(a.k), Param::input(a.v)};
  if (a.mask >= 0) i.params.push_back(Param::input(a.mask));
  i.params.push_back(Param::output(0));
  i.roofline = fusion::attention_roofline(a);
  i.register_budget = 255;
  return {std::move(i), {}};
}

Call causal(Call c) {
  c.kwargs.emplace_back("is_causal", number_argument(true));
  return c;
}

/// q, k and v side by side in one row, as a packed projection leaves them.
Call packed(Call c) {
  for (std::size_t i = 0; i < 3; ++i) {
    TensorDesc& t = c.inputs[i];
    const std::int64_t row = 3 * t.sizes[1] * t.sizes[3];
    t.strides = {t.sizes[2] * row, t.sizes[3], row, 1};
  }
  return c;
}

std::vector<Call> samples() {
  using fusion::attention_call;
  using fusion::masked;
  using fusion::transposed_attention;
  constexpr DType kF16 = DType::kF16, kBF16 = DType::kBF16, kF32 = DType::kF32;
  std::vector<Call> calls;
  for (const DType dtype : {kF16, kBF16}) {
    // Warps with parts of the keys: one tile each, the last one with one key, and two.
    calls.push_back(masked(attention_call(dtype, {2, 1, 1, 17, 111, 64}), dtype, {2, 1, 1, 111}));
    calls.push_back(packed(attention_call(dtype, {1, 1, 1, 33, 289, 64})));
    calls.push_back(transposed_attention(
        masked(attention_call(dtype, {1, 3, 1, 20, 32, 32}), DType::kBool, {1, 1, 20, 32})));
    // Rows that may look at nothing.
    calls.push_back(masked(attention_call(dtype, {1, 1, 1, 40, 3, 64}), DType::kBool, {40, 3}));
    calls.push_back(causal(attention_call(dtype, {1, 1, 2, 70, 70, 64})));
  }
  // Several warps with rows of their own, with all keys and with parts.
  calls.push_back(packed(attention_call(kBF16, {1, 2, 1, 197, 197, 64})));
  calls.push_back(masked(attention_call(kF16, {1, 2, 1, 80, 70, 64}), kF32, {1, 2, 80, 70}));
  calls.push_back(causal(attention_call(kF16, {1, 4, 1, 60, 90, 32})));
  // Larger heads; grouped ones; fewer keys than queries; a mask of each head.
  calls.push_back(masked(attention_call(kF16, {1, 1, 3, 9, 50, 128}), kF16, {1, 3, 1, 50}));
  calls.push_back(attention_call(kBF16, {1, 1, 1, 128, 40, 128}));
  calls.push_back(attention_call(kF16, {1, 1, 1, 16, 40, 80}));
  calls.push_back(causal(attention_call(kBF16, {1, 1, 1, 40, 25, 96})));
  calls.push_back(attention_call(kF16, {1, 1, 1, 16, 16, 112}));
  // Results that don't allow wide stores.
  Call odd = attention_call(kF16, {1, 2, 1, 16, 40, 48});
  odd.outputs[0].strides = {4000, 900, 50, 1};
  odd.outputs[0].alignment = 2;
  calls.push_back(odd);
  return calls;
}

const Registration kRegistration({
    .name = "prefill_attention",
    .summary = "softmax(scale q kᵀ + mask) v of halves for 16 rows or more that share keys, with "
               "grouped heads, causal or with a boolean or additive mask.",
    .algorithm = "m16n8k16 products with a running softmax in registers (Dao, FlashAttention-2, "
                 "2023); with few rows the warps of a block share the keys",
    .ops = {fusion::kAttentionOp, "fusion"},
    .priority = 35,
    .match = match,
    .samples = samples,
});

}  // namespace
}  // namespace monograph::kernels
