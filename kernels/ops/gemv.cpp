// Products of a weight matrix with one to eight vectors, bound by streaming the weights.
#include <fmt/format.h>

#include <algorithm>

#include "kernels/fusion/definitions.h"
#include "kernels/fusion/linear.h"

namespace monograph::kernels {
namespace {

using fusion::LinearCall;

constexpr std::int64_t kMostVectors = 8;
constexpr std::int64_t kWarps = 8;
constexpr std::int64_t kStages = 3;         // with the copy engine; cp.async takes more registers
constexpr std::int64_t kStageBytes = 4096;  // of a warp's row
constexpr std::int64_t kLargestStage = 8192;
constexpr std::int64_t kResident = 2;         // blocks a multiprocessor
constexpr std::int64_t kBlockReserve = 1024;  // of shared memory, the driver's

struct Plan {
  std::int64_t split = 1, grid_split = 1, slice = 0, blocks = 1, most_units = 1, shared = 0;
  std::int64_t stages = kStages;
};

std::int64_t slice_of(const LinearCall& c, std::int64_t slices) {
  const std::int64_t vec = 16 / itemsize(c.dtype);
  const std::int64_t per = (c.k + slices - 1) / slices;
  return (per + vec - 1) / vec * vec;
}

bool all_used(const LinearCall& c, std::int64_t slices) {
  return (slices - 1) * slice_of(c, slices) < c.k;
}

std::int64_t shared_bytes(const LinearCall& c, const Plan& p) {
  const std::int64_t size = itemsize(c.dtype);
  const std::int64_t columns = p.grid_split == 1 ? c.k : p.slice * p.split;
  std::int64_t bytes = kWarps * p.stages * p.slice * size;
  bytes += (c.m * columns * size + 15) / 16 * 16 + kWarps * p.stages * 8;
  if (p.split > 1 || p.grid_split > 1) bytes += kWarps * p.most_units * c.parts * c.m * 4;
  return bytes;
}

/// Rows are shared by as few warps as make a stage fit; blocks share them too where there are too
/// few rows to fill the device.
std::optional<Plan> make_plan(const LinearCall& c, const Target& target) {
  Plan p;
  if (!target.has_programmatic_launch) p.stages = kStages - 1;
  const std::int64_t size = itemsize(c.dtype);
  while (p.split < kWarps && slice_of(c, p.split) * size > kStageBytes &&
         all_used(c, p.split * 2)) {
    p.split *= 2;
  }
  const bool norm = c.norm != LinearCall::Norm::kNone;
  const auto groups = [&] { return kWarps / p.split; };
  while (!norm && c.units < target.multiprocessors * groups() &&
         slice_of(c, p.split * p.grid_split * 2) * size >= 1024 &&
         all_used(c, p.split * p.grid_split * 2)) {
    p.grid_split *= 2;
  }
  p.slice = slice_of(c, p.split * p.grid_split);
  if (p.slice * size > kLargestStage) return std::nullopt;
  // More blocks than fit at once only shorten each one's stream; as many as fit share the rows.
  for (std::int64_t resident = kResident; resident > 0; --resident) {
    const std::int64_t wave = target.multiprocessors * resident;
    p.blocks = std::clamp<std::int64_t>((c.units + groups() - 1) / groups(), 1,
                                        std::max<std::int64_t>(1, wave / p.grid_split));
    p.most_units = (c.units + p.blocks * groups() - 1) / (p.blocks * groups());
    p.shared = shared_bytes(c, p);
    if (resident * (p.shared + kBlockReserve) <= target.shared_per_multiprocessor) break;
  }
  if (p.shared > target.shared_per_block - 2048) return std::nullopt;
  return p;
}

std::string source_text(const Call& call, const LinearCall& c, const Plan& p,
                        const fusion::LinearSource& s) {
  const bool prefetch = call.inputs[static_cast<std::size_t>(c.weight)].constant;
  std::string text = "#include \"mg/device.cuh\"\n#include \"mg/gemv.cuh\"\n\n" + s.epilogue;
  text += fmt::format(
      "using Shape = mg::GemvShape<{}, {}, {}, {}, {}, {}LL, {}, {}, {}, {}, {}, {}, {}>;\n",
      device_type(c.dtype), c.m, c.units, c.parts, c.k, c.stride, kWarps, p.split, p.grid_split,
      p.stages, p.most_units, static_cast<int>(c.norm), prefetch);
  const bool shares = p.grid_split > 1;
  text += fmt::format("extern \"C\" __global__ void __launch_bounds__({}) mg_gemv({}{}) {{\n",
                      kWarps * 32, s.parameters, shares ? ", float* parts, unsigned* tickets" : "");
  text += "  extern __shared__ __align__(128) unsigned char smem[];\n";
  text += fmt::format(
      "  mg::gemv<Shape>({}, {}, {}, {}, {:a}f, smem, {}, {});\n}}\n", linear_operand(c, c.weight),
      linear_operand(c, c.x), linear_operand(c, c.norm_weight), linear_operand(c, c.norm_bias),
      c.epsilon,
      shares ? "parts, tickets" : "static_cast<float*>(nullptr), static_cast<unsigned*>(nullptr)",
      s.arguments);
  return text + "KERNEL_EXPORT(mg_gemv)\n";
}

std::string unsuitable(const Call& call, const LinearCall& c) {
  if (c.m > kMostVectors) return fmt::format("{} vectors", c.m);
  return fusion::unaligned(call, c);
}

Match match(const Call& call, const Target& target) {
  std::string why;
  const auto c = fusion::find_linear(call, &why);
  if (!c) return Match::no(std::move(why));
  why = unsuitable(call, *c);
  if (!why.empty()) return Match::no(std::move(why));
  const auto p = make_plan(*c, target);
  if (!p) return Match::no("rows too long for shared memory");
  const fusion::LinearSource s = fusion::linear_source(call, *c);
  Instance i;
  i.source = "mg_gemv.cu";
  i.text = source_text(call, *c, *p, s);
  i.entry = "mg_gemv";
  i.geometry.grid = {static_cast<std::uint32_t>(p->blocks),
                     static_cast<std::uint32_t>(p->grid_split), 1};
  i.geometry.block = {kWarps * 32, 1, 1};
  i.geometry.dynamic_shared_bytes = static_cast<std::uint32_t>(p->shared);
  i.geometry.programmatic = true;
  i.params = s.params;
  if (p->grid_split > 1) {
    i.workspace_bytes = p->grid_split * c->units * c->parts * c->m * 4;
    i.state_bytes = p->blocks * 4;
    i.params.push_back(Param::workspace());
    i.params.push_back(Param::state());
  }
  i.roofline = fusion::linear_roofline(call, *c);
  i.register_budget = 168;
  return {std::move(i), {}};
}

const Registration kRegistration({
    .name = "gemv",
    .summary =
        "y = epilogue(norm(x) Wᵀ + b) for one to eight vectors; the epilogue is any pointwise "
        "fusion, also of two packed projections.",
    .algorithm =
        "weights streamed through rings in shared memory by the copy engine, filled before "
        "the programmatic wait; rows split over warps, and over blocks with a fixed-order "
        "sum by the last one",
    .ops = {"aten.linear.default", "fusion"},
    .priority = 30,
    .match = match,
    .samples = fusion::gemv_samples,
});

}  // namespace
}  // namespace monograph::kernels
