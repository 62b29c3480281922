// Scaled dot product attention for few queries or short sequences.
#include "kernels/fusion/attention.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/fusion/definitions.h"

namespace monograph::kernels {
namespace {

constexpr std::int64_t kManyTiles = 3;             // of keys, of a block
constexpr std::int64_t kMostParts = 16;            // of a row, where fewer would do
constexpr std::int64_t kClusterBlocks = 8;         // at most, on every device that has clusters
constexpr std::int64_t kClusterTiles = 4;          // of keys, of its block, at most
constexpr std::int64_t kClusterShared = 46 << 10;  // bytes of parts, at most
constexpr std::int64_t kLongest = 256;             // queries beyond which a library does better

using fusion::Attention;

std::int64_t rows_of_block(const Attention& a) {
  const std::int64_t all = a.group * a.rows;
  return all >= 8 ? 8 : all > 2 ? 4 : all;
}

/// Registers for many rows leave room for fewer threads, with fewer keys of a lane at a time.
std::int64_t warps_of_block(std::int64_t rows) {
  return rows > 4 ? 4 : 8;
}
std::int64_t keys_of_lane(std::int64_t rows) {
  return rows > 4 ? 1 : 2;
}

/// Blocks that share a row's keys, whether they are a cluster, and the warps of each.
struct Splits {
  std::int64_t count = 1, warps = 8;
  bool cluster = false;
};

std::int64_t tile_of_block(const Attention& a, std::int64_t rows, std::int64_t warps) {
  return warps * keys_of_lane(rows) * 32 * 16 / (a.size * itemsize(a.dtype));
}

/// Large blocks, on half of the multiprocessors at most, that join their parts as a cluster.
std::optional<Splits> cluster_of(const Attention& a, std::int64_t blocks, const Target& target) {
  const std::int64_t rows = rows_of_block(a);
  Splits s{1, 2 * warps_of_block(rows), true};
  const std::int64_t tiles = std::max<std::int64_t>(1, a.keys / tile_of_block(a, rows, s.warps));
  s.count = std::min({kClusterBlocks, target.multiprocessors / 2 / blocks, tiles});
  const std::int64_t shared = (s.warps + s.count) * rows * (a.size + 2) * 4;
  if (!target.has_programmatic_launch || rows > 4 || s.count < 2) return std::nullopt;
  if (shared > kClusterShared || tiles > kClusterTiles * s.count) return std::nullopt;
  if (s.count < kClusterBlocks && s.count < tiles / 2) return std::nullopt;
  return s;
}

/// A block for every multiprocessor; two where each would have many keys, unless so many parts take
/// longer to join than keys to read.
Splits splits_of(const Attention& a, std::int64_t blocks, const Target& target) {
  if (const auto cluster = cluster_of(a, blocks, target)) return *cluster;
  const std::int64_t rows = rows_of_block(a);
  Splits s{1, warps_of_block(rows), false};
  const std::int64_t most = std::max<std::int64_t>(1, a.keys / tile_of_block(a, rows, s.warps));
  const std::int64_t one = std::clamp<std::int64_t>(target.multiprocessors / blocks, 1, most);
  const std::int64_t two = std::clamp<std::int64_t>(2 * target.multiprocessors / blocks, 1, most);
  s.count = most / one > kManyTiles && two <= kMostParts ? two : one;
  return s;
}

std::string source_text(const Call& call, const Attention& a, const Splits& splits,
                        const Target& target) {
  const bool parts = splits.count > 1 && !splits.cluster;
  const bool masked = a.mask >= 0;
  const std::string type(device_type(a.dtype));
  const std::string out(device_type(call.outputs[0].dtype));
  const std::string mask(device_type(masked ? a.mask_dtype : DType::kBool));
  const std::int64_t rows = rows_of_block(a);
  std::string s = "#include \"mg/device.cuh\"\n#include \"mg/attention.cuh\"\n\n";
  s += fmt::format(
      "using Shape = mg::AttentionShape<{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, "
      "{}, {}>;\n",
      type, out, mask, a.size, rows, a.group, a.heads, a.rows, a.keys, splits.count, splits.cluster,
      splits.warps, keys_of_lane(rows), a.causal, masked, a.same_mask());
  s += fmt::format(
      "extern \"C\" __global__ void {}__launch_bounds__({}, {}) mg_attention(const {}* q, "
      "const {}* k, const {}* v, ",
      splits.cluster ? fmt::format("__cluster_dims__({}, 1, 1) ", splits.count) : "",
      splits.warps * 32,
      rows <= 4 && !splits.cluster && a.same_mask() && target.arch == "sm_90" ? 2 : 1, type, type,
      type);
  if (masked) s += fmt::format("const {}* mask, ", mask);
  s += fmt::format("{}* out{}) {{\n", out, parts ? ", float* parts, unsigned* tickets" : "");
  s += fusion::attention_strides(a);
  s += fmt::format(
      "  mg::attention<Shape>(q, k, v, {}, out, strides, {:a}f, {});\n}}\n",
      masked ? "mask" : "static_cast<const bool*>(nullptr)", a.scale,
      parts ? "parts, tickets" : "static_cast<float*>(nullptr), static_cast<unsigned*>(nullptr)");
  return s + "KERNEL_EXPORT(mg_attention)\n";
}

Instance instance(const Call& call, const Attention& a, const Target& target) {
  const std::int64_t rows = rows_of_block(a);
  const std::int64_t tiles = (a.group * a.rows + rows - 1) / rows;
  const std::int64_t blocks = a.batch * a.heads * tiles;
  const Splits splits = splits_of(a, blocks, target);
  Instance i;
  i.source = "mg_attention.cu";
  i.text = source_text(call, a, splits, target);
  i.entry = "mg_attention";
  i.geometry.grid = {static_cast<std::uint32_t>(splits.count),
                     static_cast<std::uint32_t>(a.batch * a.heads),
                     static_cast<std::uint32_t>(tiles)};
  i.geometry.block = {static_cast<std::uint32_t>(splits.warps * 32), 1, 1};
  i.geometry.programmatic = true;
  i.params = {Param::input(a.q), Param::input(a.k), Param::input(a.v)};
  if (a.mask >= 0) i.params.push_back(Param::input(a.mask));
  i.params.push_back(Param::output(0));
  if (splits.count > 1 && !splits.cluster) {
    i.workspace_bytes = blocks * splits.count * rows * (a.size + 2) * 4;
    i.state_bytes = blocks * 4;
    i.params.push_back(Param::workspace());
    i.params.push_back(Param::state());
  }
  i.roofline = fusion::attention_roofline(a);
  constexpr double kScalarCost = 16;  // against the tensor cores' rate
  i.roofline.flops *= kScalarCost;
  i.register_budget = 255;
  return i;
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
  return {instance(call, a, target), {}};
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
  const auto lone = [plain](DType dtype, std::int64_t group, std::int64_t keys) {
    Call c = plain(dtype, 1, group, 1, keys, 64);
    for (TensorDesc& t : c.inputs) t.sizes[0] = 1;
    c.outputs[0].sizes[0] = 1;
    return c;
  };
  calls.push_back(masked(lone(DType::kBF16, 4, 300), DType::kBool, {1, 1, 1, 300}));
  calls.push_back(masked(lone(DType::kF32, 4, 300), DType::kBool, {1, 4, 1, 300}));
  calls.push_back(masked(lone(DType::kF16, 2, 700), DType::kF16, {1, 1, 1, 700}));
  return calls;
}

const Registration kRegistration({
    .name = "attention",
    .summary = "softmax(scale q kᵀ + mask) v with grouped heads, causal or with a boolean or "
               "additive mask; keys that a mask excludes are not read.",
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
