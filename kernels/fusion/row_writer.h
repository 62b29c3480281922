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

}  // namespace monograph::kernels::fusion
