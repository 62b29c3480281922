// Products of a weight matrix with up to sixteen vectors of halves, on the tensor cores.
#include <fmt/format.h>

#include "kernels/fusion/definitions.h"
#include "kernels/fusion/linear.h"

namespace monograph::kernels {
namespace {

using fusion::LinearCall;

constexpr std::int64_t kMostVectors = 16;
constexpr std::int64_t kWarps = 8;

/// Registers hold this many groups of 32 columns in flight.
std::int64_t depth(const LinearCall& c) {
  const std::int64_t rounds = (c.k + 32 * kWarps - 1) / (32 * kWarps);
  return rounds < 4 ? 2 : 4 / c.parts;
}

Match match(const Call& call, const Target&) {
  std::string why;
  const auto c = fusion::find_linear(call, &why);
  if (!c) return Match::no(std::move(why));
  if (!is_half(c->dtype)) return Match::no("dtype " + std::string(dtype_name(c->dtype)));
  if (c->m > kMostVectors) return Match::no(fmt::format("{} vectors", c->m));
  if (c->norm != LinearCall::Norm::kNone) return Match::no("a normalisation before the product");
  why = fusion::unaligned(call, *c);
  if (!why.empty()) return Match::no(std::move(why));
  const fusion::LinearSource s = fusion::linear_source(call, *c);
  Instance i;
  i.source = "mg_skinny.cu";
  i.entry = "mg_skinny";
  i.text = "#include \"mg/device.cuh\"\n#include \"mg/skinny.cuh\"\n\n" + s.epilogue;
  i.text += fmt::format("using Shape = mg::SkinnyShape<{}, {}, {}, {}, {}, {}LL, {}, {}, {}>;\n",
                        device_type(c->dtype), c->m, c->units, c->parts, c->k, c->stride, kWarps,
                        depth(*c), call.inputs[static_cast<std::size_t>(c->weight)].constant);
  i.text += fmt::format("extern \"C\" __global__ void __launch_bounds__({}) mg_skinny({}) {{\n",
                        kWarps * 32, s.parameters);
  i.text += "  __shared__ float part[Shape::kPartFloats];\n";
  i.text +=
      fmt::format("  mg::skinny<Shape>(in{}, in{}, part, {});\n}}\n", c->weight, c->x, s.arguments);
  i.text += "KERNEL_EXPORT(mg_skinny)\n";
  i.geometry.grid = {static_cast<std::uint32_t>((c->units + 15) / 16), 1, 1};
  i.geometry.block = {kWarps * 32, 1, 1};
  i.geometry.programmatic = true;
  i.params = s.params;
  i.roofline = fusion::linear_roofline(call, *c);
  i.register_budget = 168;
  return {std::move(i), {}};
}

const Registration kRegistration({
    .name = "skinny_gemm",
    .summary = "y = epilogue(x Wᵀ + b) for up to sixteen vectors of halves.",
    .algorithm = "m16n8k16 products with the weights as left operand; warps split the columns",
    .ops = {"aten.linear.default", "fusion"},
    .priority = 20,
    .match = match,
    .samples =
        [] {
          return fusion::linear_samples({DType::kF16, DType::kBF16}, {5, 16}, false);
        },
});

}  // namespace
}  // namespace monograph::kernels
