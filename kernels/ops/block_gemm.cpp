// Products of a weight matrix with tens to hundreds of vectors of halves, with any pointwise
// epilogue.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "kernels/fusion/definitions.h"
#include "kernels/fusion/linear.h"

namespace monograph::kernels {
namespace {

using fusion::LinearCall;

constexpr std::int64_t kLeastVectors = 17;
constexpr std::int64_t kMostVectors = 1024;  // more are a library's, whatever comes after them
constexpr std::int64_t kWarp = 32;
constexpr std::int64_t kMostStages = 12;         // more than cover memory's latency
constexpr std::int64_t kMostShared = 200 << 10;  // some is left for what runs beside it
constexpr std::int64_t kStaticShared = 2 << 10;

/// How a block makes a tile, see block_gemm.cuh.
struct Tile {
  std::int64_t rows, columns;         // vectors, and units of each part
  std::int64_t down, across, groups;  // warps
  std::int64_t depth;                 // columns of a stage
  std::int64_t threads() const { return down * across * groups * kWarp; }
};
constexpr std::int64_t kRows = 64;  // of the largest
constexpr Tile kTiles[] = {
    {32, 32, 1, 2, 4, 128}, {32, 64, 1, 2, 4, 128}, {64, 32, 2, 1, 4, 128},
    {64, 48, 2, 1, 4, 128}, {64, 64, 2, 2, 4, 128}, {64, 96, 2, 2, 4, 128},
};

struct Plan {
  Tile tile{};
  std::int64_t stages = 0, shared = 0;
  double cost = 0;
};

std::int64_t up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

/// The ring that `t` gets: all columns at once if there is room, or three stages at least.
std::optional<Plan> make_plan(const LinearCall& c, const Tile& t, const Target& target) {
  const std::int64_t stage = (t.rows + c.parts * t.columns) * t.depth * 2;
  const std::int64_t sums = t.groups * c.parts * t.rows * (t.columns + 8) * 4;
  const std::int64_t steps = up(c.k, t.depth);
  const std::int64_t room = std::min(kMostShared, target.shared_per_block - kStaticShared);
  Plan p;
  p.tile = t;
  p.stages = std::min({steps, room / stage, kMostStages});
  p.shared = std::max(p.stages * stage, sums);
  if (p.stages < std::min<std::int64_t>(3, steps) || p.shared > room) return std::nullopt;
  const std::int64_t blocks = up(c.m, t.rows) * up(c.units, t.columns);
  const auto waves = static_cast<double>(up(blocks, target.multiprocessors));
  p.cost = waves * static_cast<double>(t.rows + c.parts * t.columns);
  return p;
}

/// Every block waits for the rows of both operands: what the busiest multiprocessor reads decides.
/// Measured on an H100, us a launch of 128 vectors of 768 elements to 3,072 units: 4.9 by 64 x 48,
/// 6 to 6.8 by others; of 197 vectors: 9.1 by 64 x 96, 14 by 64 x 64, which go round twice; of 128
/// vectors of 384 to 1,536: 2.8 by 64 x 32, 3.4 by 64 x 48.
std::optional<Plan> choose_plan(const LinearCall& c, const Target& target) {
  std::optional<Plan> best;
  for (const Tile& t : kTiles) {
    // Tiles of few vectors read weights oftener: for what would leave half of a larger one empty.
    if (t.rows < kRows && up(c.m, t.rows) * t.rows == up(c.m, kRows) * kRows) continue;
    const auto p = make_plan(c, t, target);
    if (p && (!best || p->cost < best->cost)) best = p;
  }
  return best;
}

std::string unsuitable(const Call& call, const LinearCall& c) {
  if (!is_half(c.dtype)) return "dtype " + std::string(dtype_name(c.dtype));
  if (c.m < kLeastVectors || c.m > kMostVectors) return fmt::format("{} vectors", c.m);
  if (c.norm != LinearCall::Norm::kNone) return "a normalisation before the product";
  return fusion::unaligned(call, c);
}

std::string source_text(const Call& call, const LinearCall& c, const Plan& p,
                        const fusion::LinearSource& s) {
  const bool prefetch = call.inputs[static_cast<std::size_t>(c.weight)].constant;
  const Tile& t = p.tile;
  std::string text = "#include \"mg/device.cuh\"\n#include \"mg/block_gemm.cuh\"\n\n" + s.epilogue;
  text += fmt::format("using Tile = mg::BlockTile<{}, {}, {}, {}, {}, {}, {}>;\n", t.rows,
                      t.columns, t.down, t.across, t.groups, t.depth, p.stages);
  text += fmt::format("using Shape = mg::BlockShape<{}, {}, {}, {}, {}, {}LL, {}, Tile>;\n",
                      device_type(c.dtype), c.m, c.units, c.parts, c.k, c.stride, prefetch);
  text +=
      fmt::format("extern \"C\" __global__ void __launch_bounds__({}, 1) mg_block_gemm({}) {{\n",
                  t.threads(), s.parameters);
  text += "  extern __shared__ __align__(128) unsigned char smem[];\n";
  text += fmt::format("  mg::block_gemm<Shape>(in{}, in{}, smem, {});\n}}\n", c.weight, c.x,
                      s.arguments);
  return text + "KERNEL_EXPORT(mg_block_gemm)\n";
}

Match match(const Call& call, const Target& target) {
  std::string why;
  const auto c = fusion::find_linear(call, &why);
  if (!c) return Match::no(std::move(why));
  why = unsuitable(call, *c);
  if (!why.empty()) return Match::no(std::move(why));
  const auto p = choose_plan(*c, target);
  if (!p) return Match::no("no tile fits into shared memory");
  const Tile& t = p->tile;
  const fusion::LinearSource s = fusion::linear_source(call, *c, true);
  Instance i;
  i.source = "mg_block_gemm.cu";
  i.entry = "mg_block_gemm";
  i.text = source_text(call, *c, *p, s);
  i.geometry.grid = {static_cast<std::uint32_t>(up(c->units, t.columns)),
                     static_cast<std::uint32_t>(up(c->m, t.rows)), 1};
  i.geometry.block = {static_cast<std::uint32_t>(t.threads()), 1, 1};
  i.geometry.dynamic_shared_bytes = static_cast<std::uint32_t>(p->shared);
  i.geometry.programmatic = true;
  i.params = s.params;
  i.roofline = fusion::linear_roofline(call, *c);
  i.register_budget = 168;
  return {std::move(i), {}};
}

const Registration kRegistration({
    .name = "block_gemm",
    .summary =
        "y = epilogue(x Wᵀ + b) for 17 to 1024 vectors of halves; the epilogue is any pointwise "
        "fusion, also of two packed projections.",
    .algorithm = "tiles of m16n8k16 products fed by a ring of asynchronous copies in shared memory",
    .ops = {"aten.linear.default", "fusion"},
    .priority = 10,
    .match = match,
    .samples = fusion::block_samples,
});

}  // namespace
}  // namespace monograph::kernels
