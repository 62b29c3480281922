#include "kernels/fusion/row_plan.h"

#include <algorithm>

namespace monograph::kernels::fusion {
namespace {

constexpr std::int64_t kMostThreads = 1024;  // of a row
constexpr std::int64_t kCachedBytes = 128;   // of a row, a thread
constexpr std::int64_t kColumnWarps = 8;
constexpr std::int64_t kSplitThreads = 256;  // of a block where blocks share a row
constexpr std::int64_t kLeastSplits = 4;     // fewer don't pay for putting parts together

std::int64_t power_of_two_from(std::int64_t n) {
  std::int64_t p = 1;
  while (p < n) p *= 2;
  return p;
}

/// Whether neighbours in memory belong to different rows.
bool walks_down(const Program& program, const RowPlan& p) {
  int along = 0;
  int across = 0;
  for (std::size_t o = 0; o < program.loads.size(); ++o) {
    if (p.columns.strides[o].back() == 1) ++along;
    if (p.columns.strides[o].back() > 1 && p.rows.strides[o].back() == 1) ++across;
  }
  return across > along;
}

std::int64_t column_bytes(const Program& program, const RowPlan& p) {
  std::int64_t bytes = 0;
  for (const Node& n : program.nodes) {
    if (n.kind != Node::Kind::kLoad || n.row) continue;
    const Operand& o = program.loads[static_cast<std::size_t>(n.operand)];
    if (o.tensor == Operand::kCoordinate) continue;
    bytes += std::max<std::int64_t>(4, p.width * itemsize(o.dtype));
  }
  return bytes;
}

/// One reduction deep, with one result a row: what blocks can do part of.
bool can_split(const Program& program, const RowPlan& p) {
  for (const Node& n : program.nodes) {
    if (n.level > 1) return false;
  }
  for (std::size_t o = program.loads.size(); o < p.columns.strides.size(); ++o) {
    if (std::ranges::any_of(p.columns.strides[o], [](std::int64_t s) { return s != 0; })) {
      return false;
    }
  }
  return true;
}

/// Rows that are too few to fill the device, such as one of a vocabulary's
/// length, are shared by blocks.
void split_rows(const Program& program, const Target& target, std::int64_t vectors, RowPlan& p) {
  const std::int64_t most = 2 * target.multiprocessors / p.rows.elements();
  const std::int64_t splits = std::min(most, vectors / kSplitThreads);
  if (splits < kLeastSplits || !can_split(program, p)) return;
  p.splits = splits;
  p.threads = kSplitThreads;
  p.rows_per_block = 1;
}

}  // namespace

bool reduces(const Program& program) {
  return std::ranges::any_of(program.reduced, [](bool r) { return r; }) ||
         std::ranges::any_of(program.nodes,
                             [](const Node& n) { return n.kind == Node::Kind::kReduce; });
}

std::string not_by_rows(const Program& program) {
  for (const Operand* o : operands_of(program)) {
    for (const Gather& g : o->gathers) {
      const Node& position = program.nodes[static_cast<std::size_t>(g.node)];
      if (!position.row || position.level > 0) return "a lookup along a row";
    }
  }
  return {};
}

bool make_rows(Program& program, std::int64_t elements) {
  std::size_t first = program.axes.size();
  for (std::int64_t n = 1; n < elements && first > 0;) n *= program.axes[--first];
  std::int64_t product = 1;
  for (std::size_t a = first; a < program.axes.size(); ++a) {
    program.reduced[a] = true;
    product *= program.axes[a];
  }
  for (Node& n : program.nodes) {
    n.row = true;
    for (const int a : n.args) n.row = n.row && program.nodes[static_cast<std::size_t>(a)].row;
    if (n.kind != Node::Kind::kLoad) continue;
    const auto& strides = program.loads[static_cast<std::size_t>(n.operand)].strides;
    for (std::size_t a = first; a < strides.size(); ++a) n.row = n.row && strides[a] == 0;
  }
  return product == elements;
}

RowPlan make_row_plan(const Program& program, const Target& target) {
  RowPlan p;
  p.rows = collapse(program, false);
  p.columns = collapse(program, true);
  p.wide = needs_wide_index(program);
  const std::int64_t rows = p.rows.elements();
  const std::int64_t columns = p.columns.elements();
  p.by_column = walks_down(program, p) && rows >= 32;
  if (p.by_column) {
    p.threads = std::min(kColumnWarps, power_of_two_from(columns));
    p.rows_per_block = 32;
    p.chunks = (columns + p.threads - 1) / p.threads;
    return p;
  }
  p.width = vector_width(program, p.columns, &p.rows);
  const std::int64_t vectors = (columns + p.width - 1) / p.width;
  const bool few = rows < 2 * target.multiprocessors;
  p.threads = std::clamp<std::int64_t>(power_of_two_from(few ? vectors : (vectors + 1) / 2), 4,
                                       kMostThreads);
  p.rows_per_block = std::max<std::int64_t>(1, kRowBlock / p.threads);
  while (p.rows_per_block > 1 && p.rows_per_block / 2 >= rows &&
         p.threads * p.rows_per_block > 32) {
    p.rows_per_block /= 2;
  }
  split_rows(program, target, vectors, p);
  p.chunks = (vectors + p.threads * p.splits - 1) / (p.threads * p.splits);
  p.cached = p.chunks * column_bytes(program, p) <= kCachedBytes;
  return p;
}

}  // namespace monograph::kernels::fusion
