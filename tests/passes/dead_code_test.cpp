#include "tests/passes/filecheck.h"

namespace monograph::passes::testing {
namespace {

TEST(DeadCode, RemovesWhatNothingNeedsButKeepsTheSignature) {
  EXPECT_TRUE(transforms({"dead_code"}, R"(graph g {
    // CHECK: %x :
    %x : f32[2,3] = placeholder[target=x]
    // CHECK-NEXT: %unused_input :
    %unused_input : f32[2] = placeholder[target=unused_input]
    // CHECK-NOT: %w
    %w : f32[3] = get_attr[target=fc.weight, kind=parameter]
    %add : f32[2,3] = call_function[target=aten.add.Tensor](args = (%x, %w), kwargs = {})
    %t : f32[3,2]{strides=[1,3], alias=%add} = call_function[target=aten.t.default](args = (%add,), kwargs = {})
    // CHECK-NEXT: %relu
    %relu : f32[2,3] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    // CHECK-NEXT: return (%relu,)
    return (%relu,)
  })"));
}

TEST(DeadCode, KeepsWritesThatAreReadThroughAnotherView) {
  EXPECT_TRUE(unchanged({"dead_code"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %relu : f32[4] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    %view : f32[2,2]{alias=%relu} = call_function[target=aten.view.default](args = (%relu, [2, 2]), kwargs = {})
    %neg_ : f32[4]{alias=%relu} = call_function[target=aten.neg_.default, writes=(%relu,)](args = (%relu,), kwargs = {})
    return (%view,)
  })"));
}

TEST(DeadCode, RemovesWritesAfterTheLastRead) {
  EXPECT_TRUE(transforms({"dead_code"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %relu : f32[4] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    // CHECK: %abs
    %abs : f32[4] = call_function[target=aten.abs.default](args = (%relu,), kwargs = {})
    // CHECK-NEXT: return
    %neg_ : f32[4]{alias=%relu} = call_function[target=aten.neg_.default, writes=(%relu,)](args = (%relu,), kwargs = {})
    %view : f32[2,2]{alias=%relu} = call_function[target=aten.view.default](args = (%neg_, [2, 2]), kwargs = {})
    return (%abs,)
  })"));
}

TEST(DeadCode, KeepsUpdatesOfState) {
  EXPECT_TRUE(unchanged({"dead_code"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %cache : f32[4] = get_attr[target=cache, kind=state]
    %add_ : f32[4]{alias=%cache} = call_function[target=aten.add_.Tensor, writes=(%cache,)](args = (%cache, %x), kwargs = {})
    return (%x,)
  })"));
}

TEST(DeadCode, KeepsRandomDrawsAndCallsWithoutResults) {
  EXPECT_TRUE(unchanged({"dead_code"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %rand : f32[4] = call_function[target=aten.rand.default, traits=(random,)](args = ([4],), kwargs = {})
    %check = call_function[target=aten._assert_async.default](args = (%x,), kwargs = {})
    %rand_1 : f32[4] = call_function[target=aten.rand.default, traits=(random,)](args = ([4],), kwargs = {})
    return (%rand_1,)
  })"));
}

TEST(DeadCode, RemovesUndefinedContentsAndUnusedElements) {
  EXPECT_TRUE(transforms({"dead_code"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    // CHECK-NOT: empty
    %empty : f32[4] = call_function[target=aten.empty.memory_format, traits=(nondeterministic,)](args = ([4],), kwargs = {})
    // CHECK: %split
    %split : (f32[2]{alias=%x}, f32[2]{offset=2, alias=%x}) = call_function[target=aten.split.Tensor](args = (%x, 2), kwargs = {})
    // CHECK-NEXT: %second
    %first : f32[2]{alias=%x} = call_function[target=operator.getitem](args = (%split, 0), kwargs = {})
    %second : f32[2]{offset=2, alias=%x} = call_function[target=operator.getitem](args = (%split, 1), kwargs = {})
    return (%second,)
  })"));
}

TEST(DeadCode, RemovesSubgraphsThatNothingCalls) {
  constexpr std::string_view kSource = R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %used : f32[4] = call_function[target=fusion.used](args = (%x,), kwargs = {})
    %dropped : f32[4] = call_function[target=fusion.dropped](args = (%x,), kwargs = {})
    return (%used,)
    subgraph dropped {
      %a : f32[4] = placeholder[target=a]
      %neg : f32[4] = call_function[target=aten.neg.default](args = (%a,), kwargs = {})
      return (%neg,)
    }
    // CHECK-NOT: subgraph dropped
    // CHECK: subgraph used
    subgraph used {
      %a : f32[4] = placeholder[target=a]
      %relu : f32[4] = call_function[target=aten.relu.default](args = (%a,), kwargs = {})
      return (%relu,)
    }
  })";
  EXPECT_TRUE(transforms({"dead_code"}, kSource));
  EXPECT_EQ(notes_of("dead_code", kSource),
            "%dropped removed: fusion.dropped\nsubgraph dropped removed");
}

}  // namespace
}  // namespace monograph::passes::testing
