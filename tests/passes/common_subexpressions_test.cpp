#include "tests/passes/filecheck.h"

namespace monograph::passes::testing {
namespace {

TEST(CommonSubexpressions, MergesEqualCallsAndWhatFollowsFromThem) {
  EXPECT_TRUE(transforms({"common_subexpressions"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    // CHECK: %relu :
    %relu : f32[4] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    // CHECK-NOT: %relu_1
    %relu_1 : f32[4] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    // CHECK: %view : f32[2,2]{alias=%relu}
    %view : f32[2,2]{alias=%relu} = call_function[target=aten.view.default](args = (%relu, [2, 2]), kwargs = {})
    // CHECK-NOT: %view_1
    %view_1 : f32[2,2]{alias=%relu_1} = call_function[target=aten.view.default](args = (%relu_1, [2, 2]), kwargs = {})
    // CHECK: args = (%view, %view)
    %add : f32[2,2] = call_function[target=aten.add.Tensor](args = (%view, %view_1), kwargs = {})
    return (%add,)
  })"));
}

TEST(CommonSubexpressions, TellsScalarsApartByKindAndBits) {
  EXPECT_TRUE(unchanged({"common_subexpressions"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %a : f32[4] = call_function[target=aten.mul.Scalar](args = (%x, 0.0), kwargs = {})
    %b : f32[4] = call_function[target=aten.mul.Scalar](args = (%x, -0.0), kwargs = {})
    %c : f32[4] = call_function[target=aten.mul.Scalar](args = (%x, 0), kwargs = {})
    %d : f32[4] = call_function[target=aten.add.Scalar](args = (%x, 1), kwargs = {alpha: 2})
    %e : f32[4] = call_function[target=aten.add.Scalar](args = (%x, 1), kwargs = {alpha: 3})
    %f : f64[4] = call_function[target=aten._to_copy.default](args = (%x,), kwargs = {dtype: torch.float64})
    %g : f16[4] = call_function[target=aten._to_copy.default](args = (%x,), kwargs = {dtype: torch.float16})
    %h : f32[12] = call_function[target=aten.cat.default](args = ([%a, %b, %c],), kwargs = {})
    %i : f32[12] = call_function[target=aten.cat.default](args = ([%a, %c, %b],), kwargs = {})
    %j : f32[12] = call_function[target=aten.add.Tensor](args = (%h, %i), kwargs = {})
    return (%d, %e, %f, %g, %j)
  })"));
}

TEST(CommonSubexpressions, MergesNaNScalarsAndNestedLists) {
  EXPECT_TRUE(transforms({"common_subexpressions"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %a : f32[4] = call_function[target=aten.nan_to_num.default](args = (%x, nan), kwargs = {})
    %b : f32[4] = call_function[target=aten.nan_to_num.default](args = (%x, nan), kwargs = {})
    %c : f32[8] = call_function[target=aten.cat.default](args = ([%a, %x],), kwargs = {})
    // CHECK: %c :
    // CHECK-NEXT: %e : f32[8] = call_function[target=aten.add.Tensor](args = (%c, %c)
    %d : f32[8] = call_function[target=aten.cat.default](args = ([%b, %x],), kwargs = {})
    %e : f32[8] = call_function[target=aten.add.Tensor](args = (%c, %d), kwargs = {})
    return (%e,)
  })"));
}

TEST(CommonSubexpressions, AWriteToWhatIsReadKeepsCallsApart) {
  EXPECT_TRUE(unchanged({"common_subexpressions"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %part : f32[2]{offset=2, alias=%y} = call_function[target=aten.slice.Tensor](args = (%y, 0, 2, 4), kwargs = {})
    %a : f32[4] = call_function[target=aten.relu.default](args = (%y,), kwargs = {})
    %zero_ : f32[2]{offset=2, alias=%y} = call_function[target=aten.zero_.default, writes=(%part,)](args = (%part,), kwargs = {})
    %b : f32[4] = call_function[target=aten.relu.default](args = (%y,), kwargs = {})
    %c : f32[4] = call_function[target=aten.sub.Tensor](args = (%a, %b), kwargs = {})
    return (%c,)
  })"));
}

TEST(CommonSubexpressions, AfterTheWriteTheLaterCallCounts) {
  EXPECT_TRUE(transforms({"common_subexpressions"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %a : f32[4] = call_function[target=aten.relu.default](args = (%y,), kwargs = {})
    %zero_ : f32[4]{alias=%y} = call_function[target=aten.zero_.default, writes=(%y,)](args = (%y,), kwargs = {})
    // CHECK: %b :
    %b : f32[4] = call_function[target=aten.relu.default](args = (%y,), kwargs = {})
    // CHECK-NOT: %c :
    %c : f32[4] = call_function[target=aten.relu.default](args = (%y,), kwargs = {})
    // CHECK: args = (%a, %b)
    %d : f32[4] = call_function[target=aten.sub.Tensor](args = (%a, %b), kwargs = {})
    // CHECK: args = (%d, %b)
    %e : f32[4] = call_function[target=aten.mul.Tensor](args = (%d, %c), kwargs = {})
    return (%e,)
  })"));
}

TEST(CommonSubexpressions, ViewsAreOneAcrossWrites) {
  EXPECT_TRUE(transforms({"common_subexpressions"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    // CHECK: %v :
    %v : f32[2,2]{alias=%y} = call_function[target=aten.view.default](args = (%y, [2, 2]), kwargs = {})
    %a : f32[2,2] = call_function[target=aten.relu.default](args = (%v,), kwargs = {})
    %zero_ : f32[4]{alias=%y} = call_function[target=aten.zero_.default, writes=(%y,)](args = (%y,), kwargs = {})
    // CHECK-NOT: %u :
    %u : f32[2,2]{alias=%y} = call_function[target=aten.view.default](args = (%y, [2, 2]), kwargs = {})
    // CHECK: args = (%a, %v)
    %b : f32[2,2] = call_function[target=aten.sub.Tensor](args = (%a, %u), kwargs = {})
    return (%b,)
  })"));
}

TEST(CommonSubexpressions, ResultsThatAreWrittenStayApart) {
  for (const char* target : {"%a", "%b"}) {
    const std::string source = std::string(R"(graph g {
      %x : f32[4] = placeholder[target=x]
      %a : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
      %b : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
      %w : f32[4]{alias=TARGET} = call_function[target=aten.relu_.default, writes=(TARGET,)](args = (TARGET,), kwargs = {})
      %c : f32[4] = call_function[target=aten.sub.Tensor](args = (%a, %b), kwargs = {})
      return (%c,)
    })");
    std::string filled = source;
    for (std::size_t at; (at = filled.find("TARGET")) != std::string::npos;) {
      filled.replace(at, 6, target);
    }
    EXPECT_TRUE(unchanged({"common_subexpressions"}, filled)) << target;
  }
}

TEST(CommonSubexpressions, NeverMergesRandomOrUndefinedContents) {
  EXPECT_TRUE(unchanged({"common_subexpressions"}, R"(graph g {
    %a : f32[4] = call_function[target=aten.rand.default, traits=(random,)](args = ([4],), kwargs = {})
    %b : f32[4] = call_function[target=aten.rand.default, traits=(random,)](args = ([4],), kwargs = {})
    %c : f32[4] = call_function[target=aten.empty.memory_format](args = ([4],), kwargs = {})
    %d : f32[4] = call_function[target=aten.empty.memory_format](args = ([4],), kwargs = {})
    %e : f32[4] = call_function[target=fusion.noise](args = (%a,), kwargs = {})
    %f : f32[4] = call_function[target=fusion.noise](args = (%a,), kwargs = {})
    %g : f32[4] = call_function[target=aten.sub.Tensor](args = (%a, %b), kwargs = {})
    %h : f32[4] = call_function[target=aten.sub.Tensor](args = (%e, %f), kwargs = {})
    return (%g, %h)
    subgraph noise {
      %p : f32[4] = placeholder[target=p]
      %n : f32[4] = call_function[target=aten.rand_like.default, traits=(random,)](args = (%p,), kwargs = {})
      return (%n,)
    }
  })"));
}

TEST(CommonSubexpressions, TwoOutputsKeepTheirOwnStorages) {
  EXPECT_TRUE(unchanged({"common_subexpressions"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %a : f32[4] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    %b : f32[4] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    %v : f32[2,2]{alias=%b} = call_function[target=aten.view.default](args = (%b, [2, 2]), kwargs = {})
    return (%a, %v)
  })"));
}

TEST(CommonSubexpressions, OneOutputMayBeTheOther) {
  EXPECT_TRUE(transforms({"common_subexpressions"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %a : f32[4] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    %b : f32[4] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    %c : f32[4] = call_function[target=aten.neg.default](args = (%a,), kwargs = {})
    // CHECK: return (%a, %c)
    return (%b, %c)
  })"));
}

TEST(CommonSubexpressions, MergesListsElementByElement) {
  EXPECT_TRUE(transforms({"common_subexpressions"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    // CHECK: %sort :
    %sort : (f32[4], i64[4]) = call_function[target=aten.sort.default](args = (%x,), kwargs = {})
    // CHECK-NOT: %sort_1
    %sort_1 : (f32[4], i64[4]) = call_function[target=aten.sort.default](args = (%x,), kwargs = {})
    // CHECK-NEXT: %v : f32[4]{alias=%sort#0}
    %v : f32[4]{alias=%sort#0} = call_function[target=operator.getitem](args = (%sort, 0), kwargs = {})
    // CHECK-NEXT: %i : i64[4]{alias=%sort#1}
    %i : i64[4]{alias=%sort_1#1} = call_function[target=operator.getitem](args = (%sort_1, 1), kwargs = {})
    return (%v, %i)
  })"));
}

TEST(CommonSubexpressions, MergesReadsOfOneAttribute) {
  EXPECT_TRUE(transforms({"common_subexpressions"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    // CHECK: %w :
    %w : f32[4] = get_attr[target=w, kind=parameter]
    // CHECK-NOT: %w_1
    %w_1 : f32[4]{alias=%w} = get_attr[target=w]
    // CHECK: args = (%w, %w)
    %a : f32[4] = call_function[target=aten.add.Tensor](args = (%w, %w_1), kwargs = {})
    return (%a,)
  })"));
}

}  // namespace
}  // namespace monograph::passes::testing
