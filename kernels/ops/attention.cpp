// Scaled dot product attention for few queries or short sequences.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/fusion/definitions.h"

namespace monograph::kernels {
namespace {

constexpr const char* kOp = "aten.scaled_dot_product_attention.default";
constexpr std::int64_t kManyTiles = 3;             // of keys, of a block
constexpr std::int64_t kMostParts = 16;            // of a row, where fewer would do
constexpr std::int64_t kClusterBlocks = 8;         // at most, on every device that has clusters
constexpr std::int64_t kClusterTiles = 4;          // of keys, of its block, at most
constexpr std::int64_t kClusterShared = 46 << 10;  // bytes of parts, at most
constexpr std::int64_t kLongest = 256;             // queries beyond which a library does better

using Strides = std::array<std::int64_t, 4>;

/// Operands as the kernel sees them.
struct Attention {
  std::int32_t q = -1, k = -1, v = -1, mask = -1;
  std::int64_t batch = 1, heads = 1, group = 1, rows = 1, keys = 1, size = 1;
  Strides q_strides{}, k_strides{}, v_strides{}, mask_strides{}, out_strides{};
  DType dtype = DType::kF32, mask_dtype = DType::kBool;
  bool causal = false;
  double scale = 1;
};

Strides four(const TensorDesc& t) {
  return {t.strides[0], t.strides[1], t.strides[2], t.strides[3]};
}

bool usable(const TensorDesc& t, DType dtype) {
  if (t.sizes.size() != 4 || t.dtype != dtype || t.numel() == 0 || t.alignment < 16) return false;
  const std::int64_t vec = 16 / itemsize(dtype);
  if (t.sizes[3] > 1 && t.strides[3] != 1) return false;
  for (std::size_t d = 0; d < 3; ++d) {
    if (t.sizes[d] > 1 && t.strides[d] % vec != 0) return false;
  }
  return true;
}

/// Reads the step; a reason if it can't be done here.
std::string read(const Call& call, const Step& step, Attention& a) {
  if (step.args.size() < 3) return "operands";
  std::array<std::int32_t*, 3> slots{&a.q, &a.k, &a.v};
  for (std::size_t i = 0; i < 3; ++i) {
    if (!step.args[i].is_tensor()) return "operands";
    *slots[i] = step.args[i].tensors.front();
    if (static_cast<std::size_t>(*slots[i]) >= call.inputs.size()) return "a computed operand";
  }
  const TensorDesc& q = call.inputs[static_cast<std::size_t>(a.q)];
  const TensorDesc& k = call.inputs[static_cast<std::size_t>(a.k)];
  const TensorDesc& v = call.inputs[static_cast<std::size_t>(a.v)];
  a.dtype = q.dtype;
  if (!is_half(a.dtype) && a.dtype != DType::kF32)
    return "dtype " + std::string(dtype_name(a.dtype));
  if (!usable(q, a.dtype) || !usable(k, a.dtype) || !usable(v, a.dtype)) return "layout of q, k, v";
  a.batch = q.sizes[0];
  a.heads = k.sizes[1];
  a.rows = q.sizes[2];
  a.keys = k.sizes[2];
  a.size = q.sizes[3];
  if (k.sizes[0] != a.batch || v.sizes[0] != a.batch || v.sizes[1] != a.heads ||
      v.sizes[2] != a.keys || v.sizes[3] != a.size || k.sizes[3] != a.size ||
      q.sizes[1] % a.heads != 0) {
    return "shapes of q, k, v";
  }
  a.group = q.sizes[1] / a.heads;
  a.q_strides = four(q);
  a.k_strides = four(k);
  a.v_strides = four(v);
  const std::int64_t lanes = a.size * itemsize(a.dtype) / 16;
  if (a.size * itemsize(a.dtype) % 16 != 0 || (lanes & (lanes - 1)) != 0 || lanes > 32) {
    return fmt::format("heads of {} elements", a.size);
  }
  return {};
}

std::string read_options(const Call& call, const Step& step, Attention& a) {
  if (fusion::real(step.arg(4, "dropout_p"), 0) != 0) return "dropout";
  if (const Argument* c = step.arg(5, "is_causal")) {
    if (const auto* b = std::get_if<bool>(&c->scalar)) a.causal = *b;
  }
  a.scale = fusion::real(step.arg(6, "scale"), 1 / std::sqrt(static_cast<double>(a.size)));
  const Argument* m = step.arg(3, "attn_mask");
  if (m == nullptr || !m->is_tensor()) return {};
  a.mask = m->tensors.front();
  if (static_cast<std::size_t>(a.mask) >= call.inputs.size()) return "a computed mask";
  const TensorDesc& d = call.inputs[static_cast<std::size_t>(a.mask)];
  a.mask_dtype = d.dtype;
  if (d.dtype != DType::kBool && !is_half(d.dtype) && d.dtype != DType::kF32) return "mask's dtype";
  const std::array<std::int64_t, 4> full{a.batch, a.heads * a.group, a.rows, a.keys};
  if (d.sizes.size() > 4) return "mask's shape";
  const std::size_t lead = 4 - d.sizes.size();
  for (std::size_t i = 0; i < d.sizes.size(); ++i) {
    if (d.sizes[i] != 1 && d.sizes[i] != full[lead + i]) return "mask's shape";
    a.mask_strides[lead + i] = d.sizes[i] == 1 ? 0 : d.strides[i];
  }
  return {};
}

/// Where results go: as the operator lays them out, or as the copies after it do.
std::string read_result(const Call& call, const Body& body, std::int32_t value, Attention& a) {
  if (call.outputs.size() != 1) return "results";
  if (body.outputs[0] == value) {
    a.out_strides = four(call.outputs[0]);
    return {};
  }
  fusion::External external{value, 1};
  external.any_order = true;
  const fusion::Built built = fusion::build(call, external);
  if (!built.program) return built.reason;
  const fusion::Program& p = *built.program;
  for (const fusion::Node& n : p.nodes) {
    const bool copy = n.kind == fusion::Node::Kind::kCompute && n.text == "x0";
    if (n.kind != fusion::Node::Kind::kExternal && !copy) return "more than a copy after it";
  }
  const auto& strides = p.stores[0].operand.strides;
  for (std::size_t d = 0; d < 4; ++d) {
    const std::vector<int>& axes = p.external[d];
    for (std::size_t k = 0; k < axes.size(); ++k) {
      const auto axis = static_cast<std::size_t>(axes[k]);
      if (k > 0) {
        const auto outer = static_cast<std::size_t>(axes[k - 1]);
        if (strides[outer] != strides[axis] * p.axes[axis]) return "a copy that splits heads";
      }
      a.out_strides[d] = strides[axis];
    }
  }
  return {};
}

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

std::string numbers(const Strides& s, bool last) {
  std::string text;
  for (std::size_t i = 0; i < (last ? 4u : 3u); ++i) text += fmt::format("{}LL, ", s[i]);
  return text;
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

/// Whether all rows of a block look at the same keys.
bool same_mask(const Attention& a) {
  return !a.causal && (a.mask < 0 || (a.mask_strides[1] == 0 && a.mask_strides[2] == 0));
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
      splits.warps, keys_of_lane(rows), a.causal, masked, same_mask(a));
  s += fmt::format(
      "extern \"C\" __global__ void {}__launch_bounds__({}, {}) mg_attention(const {}* q, "
      "const {}* k, const {}* v, ",
      splits.cluster ? fmt::format("__cluster_dims__({}, 1, 1) ", splits.count) : "",
      splits.warps * 32,
      rows <= 4 && !splits.cluster && same_mask(a) && target.arch == "sm_90" ? 2 : 1, type, type,
      type);
  if (masked) s += fmt::format("const {}* mask, ", mask);
  s += fmt::format("{}* out{}) {{\n", out, parts ? ", float* parts, unsigned* tickets" : "");
  std::string strides = numbers(a.q_strides, false) + numbers(a.k_strides, false) +
                        numbers(a.v_strides, false) + numbers(a.out_strides, false) +
                        numbers(a.mask_strides, true);
  strides.resize(strides.size() - 2);
  s += fmt::format("  const mg::AttentionStrides strides{{{}}};\n", strides);
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
  const auto size = static_cast<double>(itemsize(a.dtype));
  const auto per_head = static_cast<double>(a.size) * size;
  const auto queries = static_cast<double>(a.batch * a.heads * a.group * a.rows);
  i.roofline.bytes = per_head * (2 * queries + 2 * static_cast<double>(a.batch * a.heads * a.keys));
  constexpr double kScalarCost = 16;  // against the tensor cores' rate
  i.roofline.flops = kScalarCost * 4 * queries * static_cast<double>(a.keys * a.size);
  i.register_budget = 255;
  return i;
}

Match match(const Call& call, const Target& target) {
  const Body own = call.body ? Body{} : fusion::body_of(call);
  const Body& body = call.body ? *call.body : own;
  if (body.steps.empty() || body.steps[0].op != kOp) return Match::no("no attention");
  Attention a;
  std::string why = read(call, body.steps[0], a);
  if (why.empty()) why = read_options(call, body.steps[0], a);
  if (why.empty()) {
    why = read_result(call, body, static_cast<std::int32_t>(call.inputs.size()), a);
  }
  if (why.empty() && a.rows > kLongest) why = fmt::format("{} queries", a.rows);
  if (why.empty() && a.batch * a.heads > 65535) why = "too many heads";
  if (!why.empty()) return Match::no(std::move(why));
  return {instance(call, a, target), {}};
}

Call plain(DType dtype, std::int64_t heads, std::int64_t group, std::int64_t rows,
           std::int64_t keys, std::int64_t size) {
  Call c;
  c.op = kOp;
  c.inputs = {dense(dtype, {2, heads * group, rows, size}), dense(dtype, {2, heads, keys, size}),
              dense(dtype, {2, heads, keys, size})};
  c.args = {tensor_argument(0), tensor_argument(1), tensor_argument(2)};
  c.outputs = {dense(dtype, {2, heads * group, rows, size})};
  if (group > 1) c.kwargs.emplace_back("enable_gqa", number_argument(true));
  return c;
}

Call masked(Call c, DType dtype, std::vector<std::int64_t> sizes) {
  c.inputs.push_back(dense(dtype, std::move(sizes), itemsize(dtype)));
  c.args.push_back(tensor_argument(3));
  return c;
}

/// Heads next to each other in memory, before and after, as encoders have them.
Call transposed(DType dtype) {
  Call c = plain(dtype, 3, 1, 17, 17, 32);
  const auto swap_rows = [](TensorDesc& t) {
    t.strides = {t.sizes[1] * t.sizes[2] * t.sizes[3], t.sizes[3], t.sizes[1] * t.sizes[3], 1};
  };
  for (TensorDesc& t : c.inputs) swap_rows(t);
  Body body = fusion::body_of(c);
  Step turn{
      "aten.transpose.int",
      {tensor_argument(3), number_argument(std::int64_t{1}), number_argument(std::int64_t{2})},
      {},
      dense(dtype, {2, 17, 3, 32}),
      3,
      0};
  turn.output.strides = {3 * 17 * 32, 32, 17 * 32, 1};
  body.steps.push_back(turn);
  body.steps.push_back(
      {"aten.clone.default", {tensor_argument(4)}, {}, dense(dtype, {2, 17, 3, 32})});
  body.outputs = {5};
  c.outputs = {dense(dtype, {2, 17, 3, 32})};
  c.op = "fusion";
  c.kwargs.clear();
  c.body = std::make_shared<Body>(std::move(body));
  return c;
}

std::vector<Call> samples() {
  std::vector<Call> calls;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    calls.push_back(masked(plain(dtype, 2, 4, 1, 300, 64), DType::kBool, {1, 1, 1, 300}));
    calls.push_back(masked(plain(dtype, 2, 1, 5, 37, 32), DType::kF32, {2, 1, 1, 37}));
    Call causal = plain(dtype, 2, 2, 19, 19, 64);
    causal.kwargs.emplace_back("is_causal", number_argument(true));
    calls.push_back(causal);
    calls.push_back(transposed(dtype));
  }
  calls.push_back(plain(DType::kBF16, 1, 8, 1, 129, 128));
  // One head: blocks in clusters, which read all their keys at once or tile by tile, with one mask
  // for all rows or one for each.
  const auto lone = [](DType dtype, std::int64_t group, std::int64_t keys) {
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
    .ops = {kOp, "fusion"},
    .priority = 30,
    .match = match,
    .samples = samples,
});

}  // namespace
}  // namespace monograph::kernels
