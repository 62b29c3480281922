// How the threads of a row kernel share its work.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/fusion/source.h"

namespace monograph::kernels::fusion {

constexpr std::int64_t kRowBlock = 128;  // threads of a block where rows are short

struct RowPlan {
  Space rows, columns;
  std::int64_t width = 1;    // elements of a row that travel together
  std::int64_t threads = 1;  // of a row
  std::int64_t rows_per_block = 1;
  std::int64_t chunks = 1;  // vectors of a row a thread
  std::int64_t splits = 1;  // blocks that share a row
  bool by_column = false;   // lanes take rows
  bool cached = false;      // a thread's part of the row stays in registers
  bool wide = false;
  std::int64_t block() const { return threads * rows_per_block; }
};

bool reduces(const Program& program);
/// Why `program` can't be done row by row; empty if it can.
std::string not_by_rows(const Program& program);
/// Makes rows of `elements` of what has rows but doesn't reduce: of its innermost axes. False if
/// they don't come to that.
bool make_rows(Program& program, std::int64_t elements);

/// Threads share a row; where neighbours in memory belong to different rows, lanes take rows; where
/// rows are too few to fill the device, blocks share them.
RowPlan make_row_plan(const Program& program, const Target& target);

}  // namespace monograph::kernels::fusion
