#include <fmt/format.h>
#include <gmock/gmock.h>
#include <monograph/error.h>

#include "capture/ir/text.h"
#include "tests/passes/filecheck.h"

namespace monograph::passes::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

PassReport spoil(ir::Graph& graph, PassContext&) {
  graph.set_target(graph.find("relu"), "nonsense");
  PassReport report;
  report.changes = 1;
  return report;
}
const Registration kSpoil{{"test_spoil", "wrong: leaves an invalid graph", spoil}};

ir::Graph dropout_and_leftover() {
  return ir::parse(R"(graph g {
    %x : f32[2] = placeholder[target=x]
    %drop : f32[2]{alias=%x} = call_function[target=aten.dropout.default](args = (%x, 0.1, False), kwargs = {})
    %unused : f32[2] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %relu : f32[2] = call_function[target=aten.relu.default](args = (%drop,), kwargs = {})
    return (%relu,)
  })");
}

TEST(Registry, FindsPassesByNameAndRefusesOthers) {
  EXPECT_THAT(registered_passes(),
              IsSupersetOf({"canonical_linear", "common_subexpressions", "constant_folding",
                            "dead_code", "functionalize", "materialize_outputs", "remove_noops"}));
  EXPECT_EQ(find_pass("dead_code").name, "dead_code");
  try {
    find_pass("no_such_pass");
    FAIL() << "an unknown pass was found";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kInvalidOption);
    EXPECT_THAT(e.what(), AllOf(HasSubstr("no_such_pass"), HasSubstr("dead_code")));
  }
}

TEST(Registry, EveryPassSaysWhatItDoes) {
  for (const std::string& name : registered_passes()) {
    EXPECT_FALSE(find_pass(name).description.empty()) << name;
  }
}

TEST(RegistryDeathTest, TwoPassesOfOneNameEndTheProcess) {
  EXPECT_DEATH(Registration({"dead_code", "again", spoil}),
               "two passes are registered as 'dead_code'");
}

TEST(DefaultPipeline, NamesKnownPassesAndEndsWithOutputs) {
  for (const std::string& name : default_pipeline()) EXPECT_EQ(find_pass(name).name, name);
  EXPECT_EQ(default_pipeline().back(), "materialize_outputs");
}

TEST(RunPasses, ReportsEachPassInOrder) {
  ir::Graph graph = dropout_and_leftover();
  PassContext context;
  const auto reports = run_passes(graph, {"dead_code", "remove_noops", "dead_code"}, context);
  ASSERT_EQ(reports.size(), 3U);
  EXPECT_EQ(reports[0].pass, "dead_code");
  EXPECT_EQ(reports[0].changes, 1);
  EXPECT_EQ(reports[0].nodes_before, 5U);
  EXPECT_EQ(reports[0].nodes_after, 4U);
  EXPECT_THAT(reports[0].notes, ElementsAre("%unused removed: aten.neg.default"));
  EXPECT_EQ(reports[1].pass, "remove_noops");
  EXPECT_EQ(reports[1].nodes_after, 3U);
  EXPECT_EQ(reports[2].changes, 0);
  for (const PassReport& report : reports) EXPECT_GE(report.milliseconds, 0);
}

TEST(RunPasses, ShowsTheGraphBeforeAndAfterEachChange) {
  ir::Graph graph = dropout_and_leftover();
  PassContext context;
  std::vector<std::string> seen;
  run_passes(graph, {"functionalize", "dead_code", "dead_code", "remove_noops"}, context,
             [&seen](const ir::Graph& g, const PassReport& report) {
               seen.push_back(fmt::format("{}:{}", report.pass, g.size()));
             });
  EXPECT_THAT(seen, ElementsAre(":5", "dead_code:4", "remove_noops:3"));
}

TEST(RunPasses, AnUnknownNameChangesNothing) {
  ir::Graph graph = dropout_and_leftover();
  const std::string before = ir::text(graph);
  PassContext context;
  EXPECT_THROW(run_passes(graph, {"dead_code", "no_such_pass"}, context), Error);
  EXPECT_EQ(ir::text(graph), before);
}

TEST(RunPasses, APassThatBreaksTheGraphIsNamed) {
  ir::Graph graph = dropout_and_leftover();
  PassContext context;
  try {
    run_passes(graph, {"test_spoil"}, context);
    FAIL() << "the invalid graph went unnoticed";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kInternal);
    EXPECT_EQ(e.node(), "relu");
    EXPECT_THAT(e.what(), HasSubstr("test_spoil left an invalid graph"));
  }
}

TEST(DefaultPipeline, ALinearLayerAsLibTorchRecordsIt) {
  EXPECT_TRUE(transforms(default_pipeline(), R"(graph mlp {
    // CHECK: %x :
    %x : f32[2,3,4] = placeholder[target=x]
    // CHECK-NEXT: %w : f32[5,4] = get_attr[target=fc.weight
    %w : f32[5,4] = get_attr[target=fc.weight, kind=parameter]
    // CHECK-NEXT: %b : f32[5] = get_attr[target=fc.bias
    %b : f32[5] = get_attr[target=fc.bias, kind=parameter]
    %t : f32[4,5]{strides=[1,4], alias=%w} = call_function[target=aten.t.default](args = (%w,), kwargs = {})
    %view : f32[6,4]{alias=%x} = call_function[target=aten.view.default](args = (%x, [6, 4]), kwargs = {})
    %mm : f32[6,5] = call_function[target=aten.mm.default](args = (%view, %t), kwargs = {})
    %_unsafe_view : f32[2,3,5]{alias=%mm} = call_function[target=aten._unsafe_view.default](args = (%mm, [2, 3, 5]), kwargs = {})
    // CHECK-NEXT: %linear : f32[2,3,5] = call_function[target=aten.linear.default](args = (%x, %w, %b), kwargs = {})
    %add_ : f32[2,3,5]{alias=%mm} = call_function[target=aten.add_.Tensor, writes=(%_unsafe_view,)](args = (%_unsafe_view, %b), kwargs = {})
    %dropout : f32[2,3,5]{alias=%mm} = call_function[target=aten.dropout.default](args = (%add_, 0.1, False), kwargs = {})
    // CHECK-NEXT: %relu : f32[2,3,5] = call_function[target=aten.relu.default](args = (%linear,), kwargs = {})
    %relu_ : f32[2,3,5]{alias=%mm} = call_function[target=aten.relu_.default, writes=(%dropout,)](args = (%dropout,), kwargs = {})
    // CHECK-NEXT: return (%relu,)
    return (%relu_,)
  })"));
}

TEST(DefaultPipeline, CopiesUnblockedByFunctionalWritesGo) {
  EXPECT_TRUE(transforms(default_pipeline(), R"(graph g {
    %x : f32[4] = placeholder[target=x]
    // CHECK: %relu : f32[4] = call_function[target=aten.relu.default](args = (%x,)
    %c : f32[4] = call_function[target=aten.clone.default](args = (%x,), kwargs = {})
    %r : f32[4]{alias=%c} = call_function[target=aten.relu_.default, writes=(%c,)](args = (%c,), kwargs = {})
    // CHECK-NEXT: return (%relu,)
    return (%r,)
  })"));
}

TEST(DefaultPipeline, APositionIndexBecomesOneConstant) {
  EXPECT_TRUE(transforms(default_pipeline(), R"(graph g {
    %x : f32[4] = placeholder[target=x]
    // CHECK: get_attr[target=folded_0, kind=constant]
    // CHECK-NOT: aten.zeros
    // CHECK-NOT: fill_
    %e : f32[4] = call_function[target=aten.empty.memory_format](args = ([4],), kwargs = {})
    %f : f32[4]{alias=%e} = call_function[target=aten.fill_.Scalar, writes=(%e,)](args = (%e, 0.5), kwargs = {})
    // CHECK: aten.add.Tensor](args = (%x, %folded_0)
    %y : f32[4] = call_function[target=aten.add.Tensor](args = (%x, %f), kwargs = {})
    return (%y,)
  })"));
}

}  // namespace
}  // namespace monograph::passes::testing
