// Text in, text out: a graph with the expected result in comments beside it.
//
//   EXPECT_TRUE(transforms({"dead_code"}, R"(graph g {
//     %x : f32[2] = placeholder[target=x]
//     // CHECK: %x
//     // CHECK-NOT: relu
//     ...
//   })"));
//
// CHECK: finds its text after the previous match; CHECK-NEXT: on the line after it; CHECK-SAME: on
// the same line; CHECK-NOT: nowhere between its neighbours. Runs of blanks count as one.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "capture/ir/graph.h"
#include "capture/passes/pass.h"

namespace monograph::passes::testing {

/// Holds if `output` satisfies the CHECK lines in `source`; a source without any fails.
::testing::AssertionResult file_check(std::string_view output, std::string_view source);

/// Parses and verifies `source`, runs `passes` over it and holds if
///  - the result satisfies the CHECK lines,
///  - it verifies, prints and parses back to the same graph,
///  - a second run of the passes changes nothing,
///  - and on two sets of random data it computes the same outputs and final state as before.
::testing::AssertionResult transforms(const std::vector<std::string>& passes,
                                      std::string_view source);

/// As `transforms`, for passes that reorder arithmetic: results may differ by `tolerance` of the
/// largest element.
::testing::AssertionResult transforms_within(double tolerance,
                                             const std::vector<std::string>& passes,
                                             std::string_view source);

/// As `transforms`, with the graph expected to stay exactly as it is (CHECK lines not needed).
::testing::AssertionResult unchanged(const std::vector<std::string>& passes,
                                     std::string_view source);

/// Notes of one pass over `source`, joined by newlines; for tests of reports.
std::string notes_of(const std::string& pass, std::string_view source);

}  // namespace monograph::passes::testing
