// The checker itself: each directive must be able to fail.
#include "tests/passes/filecheck.h"

namespace monograph::passes::testing {
namespace {

constexpr std::string_view kText = "alpha beta\n  gamma   delta\nepsilon\n";

TEST(FileCheck, FindsInOrder) {
  EXPECT_TRUE(file_check(kText, "// CHECK: alpha\n// CHECK: gamma delta\n// CHECK: epsilon"));
  EXPECT_FALSE(file_check(kText, "// CHECK: gamma\n// CHECK: alpha"));
  EXPECT_FALSE(file_check(kText, "// CHECK: beta\n// CHECK: beta"));
}

TEST(FileCheck, NextIsTheNextLineOnly) {
  EXPECT_TRUE(file_check(kText, "// CHECK: alpha\n// CHECK-NEXT: gamma"));
  EXPECT_FALSE(file_check(kText, "// CHECK: alpha\n// CHECK-NEXT: epsilon"));
  EXPECT_FALSE(file_check(kText, "// CHECK: alpha\n// CHECK-NEXT: beta"));
}

TEST(FileCheck, SameIsTheSameLineOnly) {
  EXPECT_TRUE(file_check(kText, "// CHECK: alpha\n// CHECK-SAME: beta"));
  EXPECT_FALSE(file_check(kText, "// CHECK: alpha\n// CHECK-SAME: gamma"));
}

TEST(FileCheck, NotIsBoundedByItsNeighbours) {
  EXPECT_TRUE(file_check(kText, "// CHECK: gamma\n// CHECK-NOT: alpha\n// CHECK: epsilon"));
  EXPECT_TRUE(file_check(kText, "// CHECK-NOT: epsilon\n// CHECK: gamma"));
  EXPECT_FALSE(file_check(kText, "// CHECK: alpha\n// CHECK-NOT: delta\n// CHECK: epsilon"));
  EXPECT_FALSE(file_check(kText, "// CHECK: alpha\n// CHECK-NOT: epsilon"));
  EXPECT_FALSE(file_check(kText, "// CHECK-NOT: alpha\n// CHECK: gamma"));
}

TEST(FileCheck, ASourceWithoutChecksFails) {
  EXPECT_FALSE(file_check(kText, "// nothing"));
  EXPECT_FALSE(file_check(kText, "// CHECK-TYPO: alpha"));
}

// Passes that are wrong on purpose.
PassReport drop_relu(ir::Graph& graph, PassContext&) {
  PassReport report;
  for (ir::Node* node : graph.node_vector()) {
    if (!node->is_call("aten.relu.default")) continue;
    graph.replace_all_uses(node, node->args()[0].node());
    graph.erase(node);
    ++report.changes;
  }
  return report;
}
PassReport never_content(ir::Graph&, PassContext&) {
  PassReport report;
  report.changes = 1;
  return report;
}
PassReport break_the_graph(ir::Graph& graph, PassContext&) {
  graph.set_target(graph.node_vector().at(1), "nonsense");
  PassReport report;
  report.changes = 1;
  return report;
}
const Registration kDropRelu{{"test_drop_relu", "wrong: forgets relu", drop_relu}};
const Registration kNeverContent{{"test_never_content", "wrong: always reports", never_content}};
const Registration kBreak{{"test_break", "wrong: leaves an invalid graph", break_the_graph}};

constexpr std::string_view kRelu = R"(graph g {
  %x : f32[2] = placeholder[target=x]
  %relu : f32[2] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
  // CHECK: return
  return (%relu,)
})";

TEST(Transforms, NoticesOtherResults) {
  const auto result = transforms({"test_drop_relu"}, kRelu);
  EXPECT_FALSE(result);
  EXPECT_NE(std::string(result.message()).find("outputs differ"), std::string::npos);
}

TEST(Transforms, NoticesThatASecondRunChangesMore) {
  const auto result = transforms({"test_never_content"}, kRelu);
  EXPECT_FALSE(result);
  EXPECT_NE(std::string(result.message()).find("second run"), std::string::npos);
}

TEST(Transforms, NoticesAnInvalidGraph) {
  const auto result = transforms({"test_break"}, kRelu);
  EXPECT_FALSE(result);
  EXPECT_NE(std::string(result.message()).find("test_break left an invalid graph"),
            std::string::npos);
}

TEST(Unchanged, NoticesAChange) {
  EXPECT_TRUE(unchanged({"dead_code"}, kRelu));
  EXPECT_FALSE(unchanged({"test_drop_relu"}, kRelu));
}

}  // namespace
}  // namespace monograph::passes::testing
