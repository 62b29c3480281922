#include "kernels/fusion/rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "kernels/fusion/row_writer.h"

namespace monograph::kernels::fusion {
namespace {

/// Bytes of one block's part of a reduction.
std::int64_t share_bytes(const Node& node) {
  const bool place = node.reduce == ReduceKind::kArgMax || node.reduce == ReduceKind::kArgMin;
  return place ? 16 : itemsize(node.compute);
}

void add_shares(const Program& program, const RowPlan& plan, Instance& i) {
  if (plan.splits == 1) return;
  const std::int64_t rows = plan.rows.elements();
  for (const Node& n : program.nodes) {
    if (n.kind != Node::Kind::kReduce) continue;
    i.params.push_back(Param::workspace(i.workspace_bytes));
    i.workspace_bytes += (rows * plan.splits * share_bytes(n) + 15) / 16 * 16;
  }
  i.params.push_back(Param::state());
  i.state_bytes = rows * 4;
  i.geometry.grid[1] = static_cast<std::uint32_t>(plan.splits);
}

std::string source(const Signature& signature, const std::string& more, std::int64_t threads,
                   const std::string& entry, const std::string& body) {
  return fmt::format(
      "#include \"mg/device.cuh\"\n#include \"mg/rows.cuh\"\n\n"
      "extern \"C\" __global__ void __launch_bounds__({0}) {1}({2}{3}) {{\n"
      "  mg::pdl_launch();\n{5}  mg::pdl_wait();\n{4}}}\nKERNEL_EXPORT({1})\n",
      threads, entry, signature.text, more, body, signature.early);
}

std::int64_t blocks_of(const RowPlan& plan) {
  return (plan.rows.elements() + plan.rows_per_block - 1) / plan.rows_per_block;
}

/// Programs side by side, each with blocks of its own: normalised queries and
/// keys with what is written of them to a cache.
Match side_by_side(const Call& call, const Target& target, const std::string& entry) {
  Segments segments = build_segments(call);
  if (segments.programs.empty()) return Match::no(std::move(segments.reason));
  if (std::ranges::none_of(segments.programs, reduces)) return Match::no("it doesn't reduce");
  std::string body;
  std::int64_t first = 0;
  Instance i;
  for (Program& program : segments.programs) {
    if (!reduces(program) && program.axes.empty()) return Match::no("a single element");
    if (!reduces(program)) (void)make_rows(program, program.axes.back());
    std::string why = not_by_rows(program);
    if (!why.empty()) return Match::no(std::move(why));
    RowPlan plan = make_row_plan(program, target);
    if (plan.by_column || plan.splits > 1 || plan.threads > kRowBlock) {
      return Match::no("rows that don't go side by side");
    }
    plan.rows_per_block = kRowBlock / plan.threads;
    const std::int64_t end = first + blocks_of(plan);
    body += fmt::format("  if (blockIdx.x >= {}u && blockIdx.x < {}u) {{\n", first, end);
    body += write_rows(program, plan, first).body + "  }\n";
    first = end;
    const Roofline part = roofline(program);
    i.roofline.bytes += part.bytes;
    i.roofline.flops += part.flops;
  }
  if (first > std::numeric_limits<std::int32_t>::max()) return Match::no("too many rows");
  const Signature sig = signature(segments.programs, call);
  i.source = entry + ".cu";
  i.text = source(sig, "", kRowBlock, entry, body);
  i.entry = entry;
  i.geometry.grid = {static_cast<std::uint32_t>(first), 1, 1};
  i.geometry.block = {static_cast<std::uint32_t>(kRowBlock), 1, 1};
  i.geometry.programmatic = true;
  i.params = sig.params;
  i.register_budget = 128;
  return {std::move(i), {}};
}

}  // namespace

Match rows_instance(const Call& call, const Target& target, const std::string& entry) {
  Built built = build(call);
  if (!built.program && call.body) {
    Match match = side_by_side(call, target, entry);
    return match.instance ? std::move(match) : Match::no(built.reason + "; " + match.reason);
  }
  if (!built.program) return Match::no(std::move(built.reason));
  const Program& program = *built.program;
  if (!reduces(program)) return Match::no("it doesn't reduce");
  std::string why = not_by_rows(program);
  if (!why.empty()) return Match::no(std::move(why));
  const RowPlan plan = make_row_plan(program, target);
  const Signature sig = signature({program}, call);
  const std::int64_t blocks = blocks_of(plan);
  if (blocks > std::numeric_limits<std::int32_t>::max()) return Match::no("too many rows");
  Instance i;
  const RowText text = write_rows(program, plan, 0);
  i.source = entry + ".cu";
  i.text = source(sig, text.parameters, plan.block(), entry, text.body);
  i.entry = entry;
  i.geometry.grid = {static_cast<std::uint32_t>(blocks), 1, 1};
  i.geometry.block = {static_cast<std::uint32_t>(plan.block()), 1, 1};
  i.geometry.programmatic = true;
  i.params = sig.params;
  add_shares(program, plan, i);
  i.roofline = roofline(program);
  i.register_budget = plan.block() > 512 ? 64 : 128;
  return {std::move(i), {}};
}

}  // namespace monograph::kernels::fusion
