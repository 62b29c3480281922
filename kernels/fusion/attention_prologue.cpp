#include "kernels/fusion/attention_prologue.h"

#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "kernels/fusion/definitions.h"
#include "kernels/fusion/row_writer.h"

namespace monograph::kernels::fusion {
namespace {

constexpr std::int64_t kWarp = 32;

/// The steps before attention as a call, whose result is the query if they compute it.
Call steps_before(const Call& call, const Attention& a) {
  Call before = call;
  Body body;
  const auto end = call.body->steps.begin() + static_cast<std::ptrdiff_t>(a.steps_before);
  body.steps.assign(call.body->steps.begin(), end);
  before.outputs.clear();
  if (a.q < 0) {
    body.outputs = {end->args[0].tensors.front()};
    before.outputs = {dense(a.dtype, {a.batch, a.heads * a.group, 1, a.size}, 16)};
  }
  before.body = std::make_shared<Body>(std::move(body));
  return before;
}

/// Whether `step` writes row `position` of the keys or values, for all heads.
bool writes_row(const Call& call, const Attention& a, const Step& step) {
  const auto* dim = std::get_if<std::int64_t>(&step.args[1].scalar);
  const bool rows = dim != nullptr && (*dim == 2 || *dim == -2);
  const auto index = static_cast<std::size_t>(step.args[2].tensors.front());
  if (!rows || (step.alias != a.k && step.alias != a.v) || index >= call.inputs.size()) {
    return false;
  }
  const TensorDesc& position = call.inputs[index];
  return position.dtype == DType::kI64 && position.numel() == 1;
}

/// Which input says where rows are written; -1 if it isn't one row of keys and one of values.
std::int32_t position_of(const Call& call, const Attention& a) {
  std::int32_t position = -1;
  std::vector<std::int32_t> written;
  for (std::size_t s = 0; s < a.steps_before; ++s) {
    const Step& step = call.body->steps[s];
    if (!writes_state(step)) continue;
    if (!writes_row(call, a, step)) return -1;
    const std::int32_t index = step.args[2].tensors.front();
    if (position >= 0 && index != position) return -1;
    position = index;
    written.push_back(step.alias);
  }
  return written.size() == 2 && written[0] != written[1] ? position : -1;
}

/// One program of it: some rows for each block.
struct Part {
  Program program;
  RowPlan plan;
  SomeRows rows;
  bool query = false;
  std::int64_t warps() const { return (rows.count * plan.threads + kWarp - 1) / kWarp; }
};

std::string make_part(Program program, const Attention& a, const Target& target, Part& part) {
  part.query = !program.stores.front().operand.state;
  const std::int64_t heads = a.batch * a.heads;
  if (!reduces(program) && !make_rows(program, a.size)) return "heads that aren't rows";
  if (std::string why = not_by_rows(program); !why.empty()) return why;
  // Latency counts: as many threads a row as it has vectors.
  Target wide = target;
  wide.multiprocessors = static_cast<int>(heads * a.group);
  part.plan = make_row_plan(program, wide);
  if (part.plan.by_column || part.plan.splits > 1 || part.plan.threads > kWarp ||
      part.plan.columns.elements() != a.size ||
      part.plan.rows.elements() != (part.query ? heads * a.group : heads)) {
    return "heads that aren't rows";
  }
  part.rows.count = part.query ? a.group : 1;
  part.rows.first =
      part.query ? fmt::format("blockIdx.y * {}", a.group) : std::string("blockIdx.y");
  part.program = std::move(program);
  return {};
}

/// Warps for each part, side by side while there are some.
std::string place(std::vector<Part>& parts, std::int64_t warps) {
  std::int64_t next = 0;
  for (Part& p : parts) {
    if (p.warps() > warps) return fmt::format("{} query heads a head of keys", p.rows.count);
    if (next + p.warps() > warps) next = 0;
    p.rows.first_warp = next;
    next += p.warps();
  }
  return {};
}

std::string source(const Attention& a, const std::vector<Part>& parts, std::int32_t position) {
  const std::string_view type = device_type(a.dtype);
  std::string s;
  if (a.q < 0) {
    const std::int64_t elements = a.group * a.size;
    s += fmt::format("  __shared__ __align__(16) {} turned[{}];\n", type, elements);
    s += fmt::format("  {0}* const out0 = turned - static_cast<long long>(blockIdx.y) * {1};\n",
                     type, elements);
  }
  s += fmt::format("  const {}* const query = {};\n", type,
                   a.q < 0 ? std::string("out0") : fmt::format("in{}", a.q));
  s += "  const auto rows = [&](bool newest) {\n"
       "  const int warp = static_cast<int>(threadIdx.x) / 32;\n";
  for (const Part& p : parts) {
    s += fmt::format("  if (warp >= {} && warp < {}{}) {{\n", p.rows.first_warp,
                     p.rows.first_warp + p.warps(), p.query ? "" : " && newest");
    s += write_rows(p.program, p.plan, p.rows) + "  }\n";
  }
  s += "  };\n";
  s += fmt::format("  const mg::NewestRow<decltype(rows)> before{{in{}, rows}};\n", position);
  return s;
}

}  // namespace

std::string read_prologue(const Call& call, const Attention& a, const Target& target,
                          std::int64_t warps, AttentionPrologue& prologue) {
  const std::int32_t position = position_of(call, a);
  if (position < 0) return "steps before that don't write a row of keys and values";
  if (a.rows != 1 || a.causal) return fmt::format("{} queries after a write", a.rows);
  const Call before = steps_before(call, a);
  Segments segments = build_segments(before);
  if (segments.programs.empty()) return segments.reason;
  std::vector<Part> parts;
  for (Program& program : segments.programs) {
    std::string why = make_part(std::move(program), a, target, parts.emplace_back());
    if (!why.empty()) return why;
  }
  // The query first: every block waits for it.
  std::ranges::stable_partition(parts, [](const Part& p) { return p.query; });
  if (std::string why = place(parts, warps); !why.empty()) return why;
  std::vector<Program> programs;
  for (const Part& p : parts) {
    programs.push_back(p.program);
    const Roofline r = fusion::roofline(p.program);
    prologue.roofline.bytes += r.bytes;
    prologue.roofline.flops += r.flops;
  }
  prologue.early = signature(programs, before).early;
  prologue.text = source(a, parts, position);
  prologue.written = {a.k, a.v};
  return {};
}

}  // namespace monograph::kernels::fusion
