#include <gmock/gmock.h>

#include "capture/ir/text.h"
#include "tests/passes/filecheck.h"
#include "tests/passes/interpreter.h"

namespace monograph::passes::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ConstantFolding, MaximalSubgraphsOfWeights) {
  EXPECT_TRUE(transforms({"constant_folding", "dead_code"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    // CHECK-NOT: get_attr[target=a
    %a : f32[4] = get_attr[target=a, kind=parameter]
    %b : f32[4] = get_attr[target=b, kind=buffer]
    %c : f32[4] = get_attr[target=c, kind=constant]
    // CHECK: %folded_1 : f32[4] = get_attr[target=folded_1, kind=constant]
    // CHECK-NOT: aten.add.Tensor](args = (%a
    %s : f32[4] = call_function[target=aten.add.Tensor](args = (%a, %b), kwargs = {})
    %p : f32[4] = call_function[target=aten.mul.Tensor](args = (%s, %c), kwargs = {})
    // CHECK-NEXT: %y : f32[4] = call_function[target=aten.add.Tensor](args = (%x, %folded_1)
    %y : f32[4] = call_function[target=aten.add.Tensor](args = (%x, %p), kwargs = {})
    return (%y,)
  })"));
}

TEST(ConstantFolding, ViewsOfWeightsStayAndAreSeenThrough) {
  EXPECT_TRUE(transforms({"constant_folding", "dead_code"}, R"(graph g {
    %x : f32[2,3] = placeholder[target=x]
    %a : f32[3,2] = get_attr[target=a, kind=parameter]
    // CHECK: %t : f32[2,3]{strides=[1,2], alias=%a} = call_function[target=aten.t.default](args = (%a,)
    %t : f32[2,3]{strides=[1,2], alias=%a} = call_function[target=aten.t.default](args = (%a,), kwargs = {})
    %y : f32[2,3] = call_function[target=aten.add.Tensor](args = (%x, %t), kwargs = {})
    %n : (f32[1,3]{strides=[1,2], alias=%a}, f32[1,3]{strides=[1,2], offset=1, alias=%a}) = call_function[target=aten.split.Tensor](args = (%t, 1), kwargs = {})
    %i : f32[1,3]{strides=[1,2], offset=1, alias=%a} = call_function[target=operator.getitem](args = (%n, 1), kwargs = {})
    // CHECK: : f32[1,3] = get_attr
    %c : f32[1,3] = call_function[target=aten.neg.default](args = (%i,), kwargs = {})
    %z : f32[2,3] = call_function[target=aten.add.Tensor](args = (%y, %c), kwargs = {})
    return (%z,)
  })"));
}

TEST(ConstantFolding, FactoriesCountAsWeights) {
  EXPECT_TRUE(transforms({"constant_folding"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    // CHECK: %folded_0 : i64[4] = get_attr[target=folded_0, kind=constant] in "pos"
    %r : i64[4] = call_function[target=aten.arange.start](args = (0, 4), kwargs = {device: device(type='cpu')}) in "pos"
    // CHECK-NEXT: %v : i64[1,4]{alias=%folded_0} = call_function[target=aten.unsqueeze.default](args = (%folded_0, 0)
    %v : i64[1,4]{alias=%r} = call_function[target=aten.unsqueeze.default](args = (%r, 0), kwargs = {})
    // CHECK-NEXT: args = (%x, %v)
    %y : f32[1,4] = call_function[target=aten.add.Tensor](args = (%x, %v), kwargs = {})
    return (%y,)
  })"));
}

TEST(ConstantFolding, ListsAreFoldedElementByElement) {
  EXPECT_TRUE(transforms({"constant_folding", "dead_code"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %a : f32[4] = get_attr[target=a, kind=parameter]
    // CHECK-NOT: sort
    %sort : (f32[4], i64[4]) = call_function[target=aten.sort.default](args = (%a,), kwargs = {})
    %v : f32[4]{alias=%sort#0} = call_function[target=operator.getitem](args = (%sort, 0), kwargs = {})
    %i : i64[4]{alias=%sort#1} = call_function[target=operator.getitem](args = (%sort, 1), kwargs = {})
    // CHECK: %w : f32[2,2]{alias=%folded_0}
    %w : f32[2,2]{alias=%sort#0} = call_function[target=aten.view.default](args = (%v, [2, 2]), kwargs = {})
    %z : f32[4] = call_function[target=aten.add.Tensor](args = (%x, %i), kwargs = {})
    %u : f32[2,2]{alias=%z} = call_function[target=aten.view.default](args = (%z, [2, 2]), kwargs = {})
    %y : f32[2,2] = call_function[target=aten.add.Tensor](args = (%u, %w), kwargs = {})
    return (%y, %z)
  })"));
}

TEST(ConstantFolding, WhatIsWrittenRandomUndefinedStatefulOrForeignStays) {
  EXPECT_TRUE(unchanged({"constant_folding"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %a : f32[4] = get_attr[target=a, kind=parameter]
    %s : f32[4] = get_attr[target=s, kind=state]
    %w : f32[4] = call_function[target=aten.neg.default](args = (%a,), kwargs = {})
    %p : f32[2]{alias=%w} = call_function[target=aten.slice.Tensor](args = (%w, 0, 0, 2), kwargs = {})
    %z : f32[2]{alias=%w} = call_function[target=aten.zero_.default, writes=(%p,)](args = (%p,), kwargs = {})
    %q : f32[4] = call_function[target=aten.abs.default](args = (%w,), kwargs = {})
    %r : f32[4] = call_function[target=aten.rand.default, traits=(random,)](args = ([4],), kwargs = {})
    %d : f32[4] = call_function[target=aten.dropout.default, traits=(random,)](args = (%a, 0.5, True), kwargs = {})
    %t : f32[4] = call_function[target=aten.neg.default](args = (%s,), kwargs = {})
    %m : f32[4] = call_function[target=mine.lookup.default](args = (%a,), kwargs = {})
    %e : f32[4] = call_function[target=aten.empty.memory_format](args = ([4],), kwargs = {})
    %o : f32[16] = call_function[target=aten.cat.default](args = ([%q, %r, %d, %t],), kwargs = {})
    return (%o, %m)
  })"));
}

ir::Graph scaled_weight() {
  return ir::parse(R"(graph g {
    %x : f32[2,3] = placeholder[target=x]
    %a : f32[3,2] = get_attr[target=a, kind=parameter]
    %t : f32[2,3]{strides=[1,2], alias=%a} = call_function[target=aten.t.default](args = (%a,), kwargs = {})
    %s : f32[2,3] = call_function[target=aten.mul.Scalar](args = (%t, 2), kwargs = {})
    %n : f32[2,3] = call_function[target=aten.neg.default](args = (%s,), kwargs = {})
    %y : f32[2,3] = call_function[target=aten.add.Tensor](args = (%x, %n), kwargs = {})
    return (%y,)
  })");
}

TEST(ConstantFolding, GivesBackWhatWasOnlyAStep) {
  ir::Graph graph = scaled_weight();
  Contents contents(1);
  Evaluator evaluator({&contents});
  PassContext context{&evaluator};
  const auto reports = run_passes(graph, {"constant_folding"}, context);
  EXPECT_EQ(reports[0].changes, 2);
  EXPECT_THAT(evaluator.evaluated,
              ElementsAre("aten.t.default", "aten.mul.Scalar", "aten.neg.default"));
  EXPECT_THAT(evaluator.discarded, ElementsAre("folded_1", "folded_0"));  // the product, the view
}

TEST(ConstantFolding, ADeclinedNodeStaysAndSoDoesWhatFollows) {
  ir::Graph graph = scaled_weight();
  const std::string before = ir::text(graph);
  Contents contents(1);
  Evaluator evaluator({&contents});
  evaluator.largest = 8;
  PassContext context{&evaluator};
  const auto reports = run_passes(graph, {"constant_folding"}, context);
  EXPECT_EQ(reports[0].changes, 0);
  EXPECT_EQ(ir::text(graph), before);
  EXPECT_THAT(evaluator.evaluated, IsEmpty());
}

TEST(ConstantFolding, WithoutAnEvaluatorNothingHappens) {
  ir::Graph graph = scaled_weight();
  const std::string before = ir::text(graph);
  PassContext context;
  EXPECT_EQ(run_passes(graph, {"constant_folding"}, context)[0].changes, 0);
  EXPECT_EQ(ir::text(graph), before);
}

/// Answers with another layout than the trace saw.
class Transposing : public Evaluator {
 public:
  using Evaluator::Evaluator;
  std::optional<std::vector<FoldedConstant>> evaluate(const ir::Node& node) override {
    auto constants = Evaluator::evaluate(node);
    if (node.is_call("aten.neg.default")) constants->at(0).type.strides = {1, 2};
    return constants;
  }
};

TEST(ConstantFolding, AnAnswerOfAnotherTypeIsDeclined) {
  ir::Graph graph = ir::parse(R"(graph g {
    %a : f32[2,2] = get_attr[target=a, kind=parameter]
    %n : f32[2,2] = call_function[target=aten.neg.default](args = (%a,), kwargs = {})
    return (%n,)
  })");
  Contents contents(1);
  Transposing evaluator({&contents});
  PassContext context{&evaluator};
  EXPECT_EQ(run_passes(graph, {"constant_folding"}, context)[0].changes, 0);
  EXPECT_NE(graph.find("n"), nullptr);
}

}  // namespace
}  // namespace monograph::passes::testing
