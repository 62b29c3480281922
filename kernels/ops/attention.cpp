// Scaled dot product attention for few queries or short sequences.
#include <fmt/format.h>

#include <algorithm>

#include "kernels/fusion/attention_prologue.h"
#include "kernels/fusion/definitions.h"
#include "kernels/fusion/rotary_samples.h"

namespace monograph::kernels {
namespace {

constexpr std::int64_t kManyTiles = 3;             // of keys, of a block
constexpr std::int64_t kMostParts = 16;            // of a row, where fewer would do
constexpr std::int64_t kClusterBlocks = 8;         // at most, on every device that has clusters
constexpr std::int64_t kClusterTiles = 4;          // of keys, of its block, at most
constexpr std::int64_t kDepth = 2;                 // tiles on their way, at most
constexpr std::int64_t kRingShared = 64 << 10;     // bytes of keys on their way, at most
constexpr std::int64_t kClusterShared = 46 << 10;  // bytes of parts, at most
constexpr std::int64_t kLongest = 256;             // queries beyond which a library does better

using fusion::Attention;
using fusion::AttentionPrologue;

std::int64_t rows_of_block(const Attention& a) {
  const std::int64_t all = a.group * a.rows;
  return all >= 8 ? 8 : all > 2 ? 4 : all;
}

/// Blocks that share a row's keys, and what each takes at a time.
struct Splits {
  std::int64_t count = 1;
  bool cluster = false;
  bool tensor = false;  ///< products on the tensor cores
  std::int64_t warps = 8, unroll = 2;
  std::int64_t tile = 0;  ///< keys
  std::int64_t slot = 0;  ///< bytes of a tile, a thread

  /// Registers for many rows leave room for fewer threads, with fewer keys of a lane at a time; one
  /// block of a cluster has a multiprocessor to itself.
  Splits(const Attention& a, bool in_cluster) : cluster(in_cluster) {
    // A product takes long to come back: fewer rows, shorter heads, and more blocks than one for a
    // multiprocessor are sooner done without.
    constexpr std::int64_t kTensorSize = 128;
    tensor = in_cluster && is_half(a.dtype) && a.same_mask() && a.size == kTensorSize &&
             rows_of_block(a) == 4;
    if (tensor) {
      tile = warps * 16;
      slot = a.size * 2;
      return;
    }
    const bool many = rows_of_block(a) > 4;
    warps = many ? 4 : in_cluster ? 16 : 8;
    unroll = many ? 1 : 2;
    tile = warps * unroll * 32 * 16 / (a.size * itemsize(a.dtype));
    slot = unroll * 32;
  }
  std::int64_t tiles(const Attention& a) const {
    return std::max<std::int64_t>(1, (a.keys + tile - 1) / tile);
  }
  /// Tiles of a block that are on their way before it is known which count: half of them.
  std::int64_t depth(const Attention& a) const {
    const std::int64_t mine = (tiles(a) + count - 1) / count;
    const std::int64_t most = a.same_mask() ? kDepth : 1;  // masks of rows take registers
    return std::max<std::int64_t>(
        1, std::min({(mine + 1) / 2, kRingShared / (slot * warps * 32), most}));
  }
  std::int64_t ring_bytes(const Attention& a) const { return depth(a) * slot * warps * 32; }
};

/// Blocks on half of the multiprocessors at most, that join their parts as a cluster.
std::optional<Splits> cluster_of(const Attention& a, std::int64_t blocks, const Target& target) {
  const std::int64_t rows = rows_of_block(a);
  Splits s(a, true);
  const std::int64_t tiles = std::max<std::int64_t>(1, a.keys / s.tile);
  s.count = std::min({kClusterBlocks, target.multiprocessors / 2 / blocks, tiles});
  const std::int64_t query = a.q < 0 ? a.group * a.size * itemsize(a.dtype) : 0;
  const std::int64_t shared = (s.warps + s.count) * rows * (a.size + 2) * 4 + query;
  if (!target.has_programmatic_launch || rows > 4 || s.count < 2) return std::nullopt;
  if (shared > kClusterShared || tiles > kClusterTiles * s.count) return std::nullopt;
  if (s.count < kClusterBlocks && s.count < tiles / 2) return std::nullopt;
  return s;
}

/// A block for every multiprocessor; two where each would have many keys, unless so many parts take
/// longer to join than keys to read.
Splits splits_of(const Attention& a, std::int64_t blocks, const Target& target) {
  if (const auto cluster = cluster_of(a, blocks, target)) return *cluster;
  Splits s(a, false);
  const std::int64_t most = std::max<std::int64_t>(1, a.keys / s.tile);
  const std::int64_t one = std::clamp<std::int64_t>(target.multiprocessors / blocks, 1, most);
  const std::int64_t two = std::clamp<std::int64_t>(2 * target.multiprocessors / blocks, 1, most);
  s.count = most / one > kManyTiles && two <= kMostParts ? two : one;
  return s;
}

std::string parameters(const Call& call, const AttentionPrologue& prologue, bool parts) {
  std::string s;
  for (std::size_t i = 0; i < call.inputs.size(); ++i) {
    const bool written = std::ranges::count(prologue.written, static_cast<std::int32_t>(i)) > 0;
    s += fmt::format("{}{}* in{}, ", written ? "" : "const ", device_type(call.inputs[i].dtype), i);
  }
  return s + fmt::format("{}* out{}", device_type(call.outputs[0].dtype),
                         parts ? ", float* parts, unsigned* tickets" : "");
}

std::string shape_text(const Call& call, const Attention& a, const Splits& splits) {
  const std::string mask(device_type(a.mask >= 0 ? a.mask_dtype : DType::kBool));
  const std::int64_t rows = rows_of_block(a);
  const auto there = [&](std::int32_t t) {
    const TensorDesc& d = call.inputs[static_cast<std::size_t>(t)];
    return d.constant || d.own;
  };
  const bool early = there(a.k) && there(a.v);
  return fmt::format(
      "using Shape = mg::AttentionShape<{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, "
      "{}, {}, {}, {}, {}>;\n",
      device_type(a.dtype), device_type(call.outputs[0].dtype), mask, a.size, rows, a.group,
      a.heads, a.rows, a.keys, splits.count, splits.cluster, splits.tensor, splits.warps,
      splits.unroll, splits.depth(a), early, a.causal, a.mask >= 0, a.same_mask());
}

std::string source_text(const Call& call, const Attention& a, const Splits& splits,
                        const AttentionPrologue& prologue, const Target& target) {
  const bool parts = splits.count > 1 && !splits.cluster;
  const std::int64_t rows = rows_of_block(a);
  const bool two = rows <= 4 && !splits.cluster && a.same_mask() && target.arch == "sm_90";
  std::string s =
      "#include \"mg/device.cuh\"\n#include \"mg/rows.cuh\"\n"
      "#include \"mg/attention.cuh\"\n\n";
  s += shape_text(call, a, splits);
  s += fmt::format("extern \"C\" __global__ void {}__launch_bounds__({}, {}) mg_attention({}) {{\n",
                   splits.cluster ? fmt::format("__cluster_dims__({}, 1, 1) ", splits.count) : "",
                   splits.warps * 32, two ? 2 : 1, parameters(call, prologue, parts));
  s += "  extern __shared__ __align__(128) unsigned char smem[];\n";
  s += prologue.early + fusion::attention_strides(a);
  if (prologue.text.empty()) {
    s += fmt::format("  const auto* const query = in{};\n  const mg::NothingBefore before;\n", a.q);
  } else {
    s += prologue.text;
  }
  s += fmt::format(
      "  mg::attention<Shape>(query, in{}, in{}, {}, out, strides, {:a}f, before, "
      "reinterpret_cast<uint4*>(smem), {});\n}}\n",
      a.k, a.v, a.mask >= 0 ? fmt::format("in{}", a.mask) : "static_cast<const bool*>(nullptr)",
      a.scale,
      parts ? "parts, tickets" : "static_cast<float*>(nullptr), static_cast<unsigned*>(nullptr)");
  return s + "KERNEL_EXPORT(mg_attention)\n";
}

Match instance(const Call& call, const Attention& a, const Target& target) {
  const std::int64_t rows = rows_of_block(a);
  const std::int64_t tiles = (a.group * a.rows + rows - 1) / rows;
  const std::int64_t blocks = a.batch * a.heads * tiles;
  const Splits splits = splits_of(a, blocks, target);
  AttentionPrologue prologue;
  if (a.steps_before > 0) {
    if (tiles > 1) return Match::no(fmt::format("{} query heads a head of keys", a.group));
    std::string why = fusion::read_prologue(call, a, target, splits.warps, prologue);
    if (!why.empty()) return Match::no(std::move(why));
  }
  Instance i;
  i.source = "mg_attention.cu";
  i.text = source_text(call, a, splits, prologue, target);
  i.entry = "mg_attention";
  i.geometry.grid = {static_cast<std::uint32_t>(splits.count),
                     static_cast<std::uint32_t>(a.batch * a.heads),
                     static_cast<std::uint32_t>(tiles)};
  i.geometry.block = {static_cast<std::uint32_t>(splits.warps * 32), 1, 1};
  i.geometry.dynamic_shared_bytes = static_cast<std::uint32_t>(splits.ring_bytes(a));
  i.geometry.programmatic = true;
  for (std::size_t n = 0; n < call.inputs.size(); ++n) {
    i.params.push_back(Param::input(static_cast<std::int32_t>(n)));
  }
  i.params.push_back(Param::output(0));
  if (splits.count > 1 && !splits.cluster) {
    i.workspace_bytes = blocks * splits.count * rows * (a.size + 2) * 4;
    i.state_bytes = blocks * 4;
    i.params.push_back(Param::workspace());
    i.params.push_back(Param::state());
  }
  i.roofline = fusion::attention_roofline(a);
  constexpr double kScalarCost = 16;  // against the tensor cores' rate
  i.roofline.flops = i.roofline.flops * kScalarCost + prologue.roofline.flops;
  i.roofline.bytes += prologue.roofline.bytes;
  i.register_budget = 255;
  return {std::move(i), {}};
}

Match match(const Call& call, const Target& target) {
  Attention a;
  std::string why = fusion::read_attention(call, a);
  const std::int64_t lanes = a.size * itemsize(a.dtype) / 16;
  if (why.empty() &&
      (a.size * itemsize(a.dtype) % 16 != 0 || (lanes & (lanes - 1)) != 0 || lanes > 32)) {
    why = fmt::format("heads of {} elements", a.size);
  }
  if (why.empty() && a.rows > kLongest) why = fmt::format("{} queries", a.rows);
  if (why.empty() && a.batch * a.heads > 65535) why = "too many heads";
  if (!why.empty()) return Match::no(std::move(why));
  return instance(call, a, target);
}

std::vector<Call> samples() {
  using fusion::masked;
  const auto plain = [](DType dtype, std::int64_t heads, std::int64_t group, std::int64_t rows,
                        std::int64_t keys, std::int64_t size) {
    return fusion::attention_call(dtype, {2, heads, group, rows, keys, size});
  };
  std::vector<Call> calls;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    calls.push_back(masked(plain(dtype, 2, 4, 1, 300, 64), DType::kBool, {1, 1, 1, 300}));
    calls.push_back(masked(plain(dtype, 2, 1, 5, 37, 32), DType::kF32, {2, 1, 1, 37}));
    Call causal = plain(dtype, 2, 2, 19, 19, 64);
    causal.kwargs.emplace_back("is_causal", number_argument(true));
    calls.push_back(causal);
    calls.push_back(fusion::transposed_attention(plain(dtype, 3, 1, 17, 17, 32)));
  }
  calls.push_back(plain(DType::kBF16, 1, 8, 1, 129, 128));
  // One head: blocks in clusters, which read all their keys at once or tile by tile, with one mask
  // for all rows or one for each.
  const auto lone = [plain](DType dtype, std::int64_t group, std::int64_t keys,
                            std::int64_t size = 64) {
    Call c = plain(dtype, 1, group, 1, keys, size);
    for (TensorDesc& t : c.inputs) t.sizes[0] = 1;
    c.outputs[0].sizes[0] = 1;
    return c;
  };
  calls.push_back(masked(lone(DType::kBF16, 4, 300), DType::kBool, {1, 1, 1, 300}));
  calls.push_back(masked(lone(DType::kF32, 4, 300), DType::kBool, {1, 4, 1, 300}));
  calls.push_back(masked(lone(DType::kF16, 2, 700), DType::kF16, {1, 1, 1, 700}));
  calls.push_back(masked(lone(DType::kF16, 4, 300, 128), DType::kF16, {1, 1, 1, 300}));
  // A step of decoding: clusters with and without tensor cores, whose keys are there early or not,
  // blocks that leave their parts in memory, and one for all keys; warps side by side or in turns.
  calls.push_back(fusion::cached_attention_call(DType::kBF16, {1, 1, 4, 300, 64, true}, false));
  calls.push_back(fusion::cached_attention_call(DType::kBF16, {1, 1, 4, 600, 128, true}, true));
  calls.push_back(fusion::cached_attention_call(DType::kF16, {1, 1, 3, 300, 128}, false));
  calls.push_back(fusion::cached_attention_call(DType::kF16, {1, 1, 2, 700, 64}, true));
  calls.push_back(fusion::cached_attention_call(DType::kBF16, {1, 1, 2, 1100, 128, true}, true));
  calls.push_back(fusion::cached_attention_call(DType::kF32, {2, 2, 4, 300, 64, true}, true));
  calls.push_back(fusion::cached_attention_call(DType::kBF16, {2, 2, 8, 129, 128}, true));
  calls.push_back(fusion::cached_attention_call(DType::kBF16, {1, 3, 1, 20, 32}, false));
  return calls;
}

const Registration kRegistration({
    .name = "attention",
    .summary = "softmax(scale q kᵀ + mask) v with grouped heads, causal or with a boolean or "
               "additive mask; of the second half of the keys, those that it excludes are not "
               "read. For one query also with what "
               "makes it and writes the caches' newest row: norms, rotary embedding.",
    .algorithm =
        "running softmax over keys split between blocks, joined in a fixed order by the first of a "
        "cluster or the last to finish (Dao et al., Flash-Decoding, 2023)",
    .ops = {fusion::kAttentionOp, "fusion"},
    .priority = 30,
    .match = match,
    .samples = samples,
});

}  // namespace
}  // namespace monograph::kernels
