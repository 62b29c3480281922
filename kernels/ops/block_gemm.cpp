// Products of a weight matrix with tens to hundreds of vectors of halves, with any pointwise
// epilogue.
#include <fmt/format.h>

#include "kernels/fusion/definitions.h"
#include "kernels/fusion/linear.h"

namespace monograph::kernels {
namespace {

using fusion::LinearCall;

constexpr std::int64_t kLeastVectors = 17;
constexpr std::int64_t kMostVectors = 1024;  // more are a library's, whatever comes after them
constexpr std::int64_t kDepth = 64;
constexpr std::int64_t kStages = 4;
constexpr std::int64_t kThreads = 128;

struct Tile {
  std::int64_t rows = 64, columns = 64;
  std::int64_t blocks(const LinearCall& c) const {
    return ((c.m + rows - 1) / rows) * ((c.units + columns - 1) / columns);
  }
};

/// Tiles as large as they may be with one for every multiprocessor.
Tile choose_tile(const LinearCall& c, const Target& target) {
  Tile t;
  if (c.m <= 32) t.rows = 32;
  if (t.blocks(c) < target.multiprocessors) t.columns = 32;
  return t;
}

std::string unsuitable(const Call& call, const LinearCall& c) {
  if (!is_half(c.dtype)) return "dtype " + std::string(dtype_name(c.dtype));
  if (c.m < kLeastVectors || c.m > kMostVectors) return fmt::format("{} vectors", c.m);
  if (c.norm != LinearCall::Norm::kNone) return "a normalisation before the product";
  return fusion::unaligned(call, c);
}

std::string source_text(const Call& call, const LinearCall& c, const Tile& t,
                        const fusion::LinearSource& s) {
  const bool prefetch = call.inputs[static_cast<std::size_t>(c.weight)].constant;
  std::string text = "#include \"mg/device.cuh\"\n#include \"mg/block_gemm.cuh\"\n\n" + s.epilogue;
  text += fmt::format("using Shape = mg::BlockShape<{}, {}, {}, {}, {}, {}LL, {}, {}, {}, {}>;\n",
                      device_type(c.dtype), c.m, c.units, c.parts, c.k, c.stride, t.rows, t.columns,
                      kStages, prefetch);
  text +=
      fmt::format("extern \"C\" __global__ void __launch_bounds__({}, 1) mg_block_gemm({}) {{\n",
                  kThreads, s.parameters);
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
  const Tile t = choose_tile(*c, target);
  const fusion::LinearSource s = fusion::linear_source(call, *c);
  Instance i;
  i.source = "mg_block_gemm.cu";
  i.entry = "mg_block_gemm";
  i.text = source_text(call, *c, t, s);
  i.geometry.grid = {static_cast<std::uint32_t>((c->units + t.columns - 1) / t.columns),
                     static_cast<std::uint32_t>((c->m + t.rows - 1) / t.rows), 1};
  i.geometry.block = {kThreads, 1, 1};
  i.geometry.dynamic_shared_bytes =
      static_cast<std::uint32_t>(kStages * (t.rows + c->parts * t.columns) * kDepth * 2);
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
    .samples =
        [] {
          return fusion::linear_samples({DType::kF16, DType::kBF16}, {17, 70}, false);
        },
});

}  // namespace
}  // namespace monograph::kernels
