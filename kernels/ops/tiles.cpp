// Products of a weight matrix of halves with one to sixteen vectors, bound by streaming the
// weights.
#include <fmt/format.h>

#include <algorithm>

#include "kernels/fusion/definitions.h"
#include "kernels/fusion/linear.h"

namespace monograph::kernels {
namespace {

using fusion::LinearCall;

constexpr std::int64_t kMostVectors = 16;
constexpr std::int64_t kTileRows = 8;
constexpr std::int64_t kMultiplying = 8;         // warps
constexpr std::int64_t kWarps = 10;              // of a block: one copies, one adds up
constexpr std::int64_t kSlots = 4;               // of sums, see tiles.cuh
constexpr std::int64_t kShortRow = 2048;         // columns of a row that is streamed in halves
constexpr std::int64_t kMostColumns = 2048;      // of a stage
constexpr std::int64_t kColumnUnit = 256;        // a stage's columns are a multiple of
constexpr std::int64_t kSmallKernels = 6 << 10;  // of shared memory, for what runs beside it
constexpr std::int64_t kStaticShared = 2 << 10;

struct Plan {
  std::int64_t columns = 0, stages = 2, blocks = 1, shared = 0;
};

std::int64_t up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

/// As many stages as fit: the copy engine streams at the memory's rate only with most of shared
/// memory under way.
std::optional<Plan> make_plan(const LinearCall& c, const Target& target) {
  Plan p;
  // Short rows in halves: more stages, of which the last is waited for less long.
  const std::int64_t most = c.k > kShortRow ? kMostColumns : kMostColumns / 2;
  p.columns = up(up(c.k, up(c.k, most)), kColumnUnit) * kColumnUnit;
  const std::int64_t steps = up(c.k, p.columns);
  const std::int64_t tiles = up(c.units, kTileRows);
  p.blocks = std::min<std::int64_t>(target.multiprocessors, tiles);
  const std::int64_t x = c.m * (steps * p.columns + 32) * 2;
  const std::int64_t parts = kSlots * kMultiplying * c.parts * c.m * kTileRows * 4;
  const std::int64_t fixed = x + parts + 2 * kSlots * 8;
  const std::int64_t stage = kTileRows * (p.columns * 2 + 64) + 16;
  const std::int64_t all = up(tiles, p.blocks) * c.parts * steps;
  const std::int64_t room = std::min(target.shared_per_multiprocessor - kSmallKernels,
                                     target.shared_per_block - kStaticShared);
  if (fixed + 2 * stage > room) return std::nullopt;
  p.stages = std::clamp<std::int64_t>((room - fixed) / stage, 2, std::max<std::int64_t>(2, all));
  p.shared = fixed + p.stages * stage;
  // Two blocks on one multiprocessor leave another without, and wait for its share of the memory.
  p.shared = std::max(p.shared, target.shared_per_multiprocessor / 2);
  return p;
}

std::string source_text(const Call& call, const LinearCall& c, const Plan& p,
                        const fusion::LinearSource& s) {
  const auto constant = [&](std::int32_t t) {
    return t < 0 || call.inputs[static_cast<std::size_t>(t)].constant;
  };
  std::string text = "#include \"mg/device.cuh\"\n#include \"mg/tiles.cuh\"\n\n" + s.epilogue;
  text +=
      fmt::format("using Shape = mg::TileShape<{}, {}, {}, {}, {}, {}LL, {}, {}, {}, {}, {}>;\n",
                  device_type(c.dtype), c.m, c.units, c.parts, c.k, c.stride, p.columns, p.stages,
                  static_cast<int>(c.norm), constant(c.weight),
                  constant(c.norm_weight) && constant(c.norm_bias));
  text += fmt::format("extern \"C\" __global__ void __launch_bounds__({}, 1) mg_tiles({}) {{\n",
                      kWarps * 32, s.parameters);
  text += "  extern __shared__ __align__(128) unsigned char smem[];\n";
  text += fmt::format("  mg::tiles<Shape>({}, {}, {}, {}, {:a}f, smem, {});\n}}\n",
                      linear_operand(c, c.weight), linear_operand(c, c.x),
                      linear_operand(c, c.norm_weight), linear_operand(c, c.norm_bias), c.epsilon,
                      s.arguments);
  return text + "KERNEL_EXPORT(mg_tiles)\n";
}

std::string unsuitable(const Call& call, const LinearCall& c) {
  if (!is_half(c.dtype)) return "dtype " + std::string(dtype_name(c.dtype));
  if (c.m > kMostVectors) return fmt::format("{} vectors", c.m);
  return fusion::unaligned(call, c);
}

Match match(const Call& call, const Target& target) {
  std::string why;
  const auto c = fusion::find_linear(call, &why);
  if (!c) return Match::no(std::move(why));
  why = unsuitable(call, *c);
  if (why.empty() && !target.has_programmatic_launch) why = "needs the copy engine of sm_90";
  // Its compiler takes more registers than ten warps leave each thread.
  const bool crowded = target.arch == "sm_100" && c->m > 8 && c->norm != LinearCall::Norm::kNone;
  if (why.empty() && crowded) why = "needs more registers on sm_100 for a norm of over 8 vectors";
  if (!why.empty()) return Match::no(std::move(why));
  const auto p = make_plan(*c, target);
  if (!p) return Match::no("vectors too long for shared memory");
  const fusion::LinearSource s = fusion::linear_source(call, *c);
  Instance i;
  i.source = "mg_tiles.cu";
  i.text = source_text(call, *c, *p, s);
  i.entry = "mg_tiles";
  i.geometry.grid = {static_cast<std::uint32_t>(p->blocks), 1, 1};
  i.geometry.block = {static_cast<std::uint32_t>(kWarps * 32), 1, 1};
  i.geometry.dynamic_shared_bytes = static_cast<std::uint32_t>(p->shared);
  i.geometry.programmatic = true;
  i.params = s.params;
  i.roofline = fusion::linear_roofline(call, *c);
  i.register_budget = 168;
  return {std::move(i), {}};
}

const Registration kRegistration({
    .name = "tiles",
    .summary =
        "y = epilogue(norm(x) Wᵀ + b) for one to sixteen vectors of halves; the epilogue is any "
        "pointwise fusion, also of two packed projections.",
    .algorithm =
        "rows of the weight streamed eight at a time through rings in shared memory by the copy "
        "engine, filled before the programmatic wait; m16n8k16 products with the vectors as left "
        "operand; columns split over warps where rows are few",
    .ops = {"aten.linear.default", "fusion"},
    .priority = 40,
    .match = match,
    .samples =
        [] {
          std::vector<Call> calls =
              fusion::linear_samples({DType::kF16, DType::kBF16}, {1, 3, 8, 16}, true);
          for (Call& c : fusion::gemv_samples()) {
            if (is_half(c.inputs[0].dtype)) calls.push_back(std::move(c));
          }
          return calls;
        },
});

}  // namespace
}  // namespace monograph::kernels
