// Source of what a row kernel's threads do.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/fusion/row_plan.h"

namespace monograph::kernels::fusion {

struct RowText {
  std::string body;
  std::string parameters;  ///< ", ..." for what blocks that share a row tell each other, or empty
};
/// Statements for `program` by `plan`, whose first block is `first_block` of the grid.
RowText write_rows(const Program& program, const RowPlan& plan, std::int64_t first_block);

/// A few rows, done by some warps of a block.
struct SomeRows {
  std::string first;  ///< expression of the first one's number
  std::int64_t count = 1;
  std::int64_t first_warp = 0;
};
/// The same for `rows`, by threads of whole warps from `first_warp` on; plan.threads is at most 32.
std::string write_rows(const Program& program, const RowPlan& plan, const SomeRows& rows);

}  // namespace monograph::kernels::fusion
