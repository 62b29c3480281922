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
