#include "tests/passes/filecheck.h"

namespace monograph::passes::testing {
namespace {

TEST(RemoveNoops, EvalDropoutInEverySpelling) {
  EXPECT_TRUE(transforms({"remove_noops"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    // CHECK-NOT: dropout
    %a : f32[4]{alias=%y} = call_function[target=aten.dropout.default, traits=(random,)](args = (%y, 0.5, False), kwargs = {})
    %b : f32[4] = call_function[target=aten.feature_dropout.default](args = (%a, 0.5), kwargs = {train: False})
    %c : f32[4]{alias=%b} = call_function[target=aten.dropout_.default, writes=(%b,)](args = (%b, 0.5, False), kwargs = {})
    %d : f32[4] = call_function[target=aten.alpha_dropout.default](args = (%c, 0.5, False), kwargs = {})
    %e : f32[4] = call_function[target=aten.abs.default](args = (%d,), kwargs = {})
    return (%e,)
  })"));
}

TEST(RemoveNoops, TrainingDropoutStays) {
  EXPECT_TRUE(unchanged({"remove_noops"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %a : f32[4] = call_function[target=aten.dropout.default, traits=(random,)](args = (%x, 0.5, True), kwargs = {})
    return (%a,)
  })"));
}

TEST(RemoveNoops, NativeDropoutWithoutUseOfItsMask) {
  EXPECT_TRUE(transforms({"remove_noops"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    // CHECK-NOT: dropout
    %n : (f32[4], bool[4]) = call_function[target=aten.native_dropout.default, traits=(random,)](args = (%x, 0.5, False), kwargs = {})
    %a : f32[4]{alias=%n#0} = call_function[target=operator.getitem](args = (%n, 0), kwargs = {})
    // CHECK: %v : f32[2,2]{alias=%x}
    %v : f32[2,2]{alias=%n#0} = call_function[target=aten.view.default](args = (%a, [2, 2]), kwargs = {})
    %b : f32[2,2] = call_function[target=aten.abs.default](args = (%v,), kwargs = {})
    return (%b,)
  })"));
}

TEST(RemoveNoops, NativeDropoutWithItsMaskOnlyStopsBeingRandom) {
  EXPECT_TRUE(transforms({"remove_noops"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    // CHECK: call_function[target=aten.native_dropout.default](
    %n : (f32[4], bool[4]) = call_function[target=aten.native_dropout.default, traits=(random,)](args = (%x, 0.5, False), kwargs = {})
    // CHECK-NEXT: %a
    %a : f32[4]{alias=%n#0} = call_function[target=operator.getitem](args = (%n, 0), kwargs = {})
    %m : bool[4]{alias=%n#1} = call_function[target=operator.getitem](args = (%n, 1), kwargs = {})
    return (%a, %m)
  })"));
}

TEST(RemoveNoops, IdentityViews) {
  EXPECT_TRUE(transforms({"remove_noops"}, R"(graph g {
    %x : f32[2,3] = placeholder[target=x]
    // CHECK-NOT: %a
    %a : f32[2,3]{alias=%x} = call_function[target=aten.to.dtype](args = (%x, torch.float32), kwargs = {})
    %b : f32[2,3]{alias=%x} = call_function[target=aten.contiguous.default](args = (%a,), kwargs = {})
    %c : f32[2,3]{alias=%x} = call_function[target=aten.expand.default](args = (%b, [2, 3]), kwargs = {})
    %d : f32[2,3]{alias=%x} = call_function[target=aten.view.default](args = (%c, [2, 3]), kwargs = {})
    %e : f32[2,3]{alias=%x} = call_function[target=aten.permute.default](args = (%d, [0, 1]), kwargs = {})
    %f : f32[2,3]{alias=%x} = call_function[target=aten.detach.default](args = (%e,), kwargs = {})
    %g : f32[2,3]{alias=%x} = call_function[target=aten.lift_fresh.default](args = (%f,), kwargs = {})
    // CHECK: %h : f32[3,2]{alias=%x} = call_function[target=aten.view.default](args = (%x, [3, 2])
    %h : f32[3,2]{alias=%x} = call_function[target=aten.view.default](args = (%g, [3, 2]), kwargs = {})
    %i : f32[3,2] = call_function[target=aten.relu.default](args = (%h,), kwargs = {})
    return (%i,)
  })"));
}

TEST(RemoveNoops, IdentityViewsGoEvenWhenTheStorageIsWritten) {
  EXPECT_TRUE(transforms({"remove_noops"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    // CHECK-NOT: alias.default
    %a : f32[4]{alias=%y} = call_function[target=aten.alias.default](args = (%y,), kwargs = {})
    // CHECK: %r : f32[4]{alias=%y} = call_function[target=aten.relu_.default, writes=(%y,)](args = (%y,)
    %r : f32[4]{alias=%y} = call_function[target=aten.relu_.default, writes=(%a,)](args = (%a,), kwargs = {})
    return (%y,)
  })"));
}

TEST(RemoveNoops, ViewsThatChangeSomethingStay) {
  EXPECT_TRUE(unchanged({"remove_noops"}, R"(graph g {
    %x : f32[2,2] = placeholder[target=x]
    %z : c64[2] = placeholder[target=z]
    %t : f32[2,2]{strides=[1,2], alias=%x} = call_function[target=aten.t.default](args = (%x,), kwargs = {})
    %s : f32[1,2]{offset=2, alias=%x} = call_function[target=aten.slice.Tensor](args = (%x, 0, 1, 2), kwargs = {})
    %n : f32[2,2]{alias=%x} = call_function[target=aten._neg_view.default](args = (%x,), kwargs = {})
    %c : c64[2]{alias=%z} = call_function[target=aten._conj.default](args = (%z,), kwargs = {})
    %m : f32[2,2]{alias=%x} = call_function[target=mine.view.default](args = (%x,), kwargs = {})
    return (%t, %s, %n, %c, %m)
  })"));
}

TEST(RemoveNoops, CopiesThatNobodyCouldTell) {
  EXPECT_TRUE(transforms({"remove_noops"}, R"(graph g {
    %x : f32[2,2] = placeholder[target=x]
    // CHECK-NOT: clone
    // CHECK-NOT: _to_copy
    %a : f32[2,2] = call_function[target=aten.clone.default](args = (%x,), kwargs = {memory_format: torch.contiguous_format})
    %b : f32[2,2] = call_function[target=aten._to_copy.default](args = (%a,), kwargs = {dtype: torch.float32})
    // CHECK: %v : f32[4]{alias=%x} = call_function[target=aten.view.default](args = (%x, [4])
    %v : f32[4]{alias=%b} = call_function[target=aten.view.default](args = (%b, [4]), kwargs = {})
    %r : f32[4] = call_function[target=aten.relu.default](args = (%v,), kwargs = {})
    return (%r,)
  })"));
}

TEST(RemoveNoops, CopiesToAnotherTypeOrLayoutStay) {
  EXPECT_TRUE(unchanged({"remove_noops"}, R"(graph g {
    %x : f32[2,2] = placeholder[target=x]
    %t : f32[2,2]{strides=[1,2], alias=%x} = call_function[target=aten.t.default](args = (%x,), kwargs = {})
    %a : f32[2,2] = call_function[target=aten.contiguous.default](args = (%t,), kwargs = {})
    %b : f64[2,2] = call_function[target=aten._to_copy.default](args = (%x,), kwargs = {dtype: torch.float64})
    %c : f32[2,2]{device=cuda:0} = call_function[target=aten._to_copy.default](args = (%x,), kwargs = {device: device(type='cuda', index=0)})
    %p : f32[2,2] = call_function[target=aten._to_copy.default](args = (%x,), kwargs = {pin_memory: True})
    %d : f32[2,2] = call_function[target=aten.relu.default](args = (%a,), kwargs = {})
    %e : f64[2,2] = call_function[target=aten.relu.default](args = (%b,), kwargs = {})
    return (%d, %e)
  })"));
}

TEST(RemoveNoops, ACopyThatIsWrittenStays) {
  EXPECT_TRUE(unchanged({"remove_noops"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %a : f32[4] = call_function[target=aten.clone.default](args = (%y,), kwargs = {})
    %r : f32[4]{alias=%a} = call_function[target=aten.relu_.default, writes=(%a,)](args = (%a,), kwargs = {})
    %s : f32[4] = call_function[target=aten.sub.Tensor](args = (%y, %r), kwargs = {})
    return (%s,)
  })"));
}

TEST(RemoveNoops, ACopyOfWhatIsWrittenWhileItIsUsedStays) {
  EXPECT_TRUE(unchanged({"remove_noops"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %a : f32[4] = call_function[target=aten.clone.default](args = (%y,), kwargs = {})
    %v : f32[2,2]{alias=%a} = call_function[target=aten.view.default](args = (%a, [2, 2]), kwargs = {})
    %r : f32[4]{alias=%y} = call_function[target=aten.relu_.default, writes=(%y,)](args = (%y,), kwargs = {})
    %s : f32[2,2] = call_function[target=aten.abs.default](args = (%v,), kwargs = {})
    return (%s, %r)
  })"));
}

TEST(RemoveNoops, ACopyOfWhatIsWrittenAfterwardsGoes) {
  EXPECT_TRUE(transforms({"remove_noops"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    // CHECK-NOT: clone
    %a : f32[4] = call_function[target=aten.clone.default](args = (%y,), kwargs = {})
    // CHECK: aten.abs.default](args = (%y,)
    %s : f32[4] = call_function[target=aten.abs.default](args = (%a,), kwargs = {})
    %r : f32[4]{alias=%y} = call_function[target=aten.relu_.default, writes=(%y,)](args = (%y,), kwargs = {})
    return (%s, %r)
  })"));
}

TEST(RemoveNoops, ACopyOfStateThatIsUpdatedStays) {
  EXPECT_TRUE(unchanged({"remove_noops"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %cache : f32[4] = get_attr[target=cache, kind=state]
    %old : f32[4] = call_function[target=aten.clone.default](args = (%cache,), kwargs = {})
    %u : f32[4]{alias=%cache} = call_function[target=aten.add_.Tensor, writes=(%cache,)](args = (%cache, %x), kwargs = {})
    %d : f32[4] = call_function[target=aten.sub.Tensor](args = (%u, %old), kwargs = {})
    return (%d,)
  })"));
}

TEST(RemoveNoops, ACopyInAChainSeesWritesToTheOriginal) {
  // %a can be %y, since %y is written only after its last use; then %b must not be %y as well.
  EXPECT_TRUE(transforms({"remove_noops"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    // CHECK-NOT: %a
    %a : f32[4] = call_function[target=aten.clone.default](args = (%y,), kwargs = {})
    // CHECK: %b : f32[4] = call_function[target=aten.clone.default](args = (%y,)
    %b : f32[4] = call_function[target=aten.clone.default](args = (%a,), kwargs = {})
    %r : f32[4]{alias=%y} = call_function[target=aten.relu_.default, writes=(%y,)](args = (%y,), kwargs = {})
    %s : f32[4] = call_function[target=aten.sub.Tensor](args = (%r, %b), kwargs = {})
    return (%s,)
  })"));
}

TEST(RemoveNoops, ACopyThatIsAnOutputsOwnStorageStays) {
  EXPECT_TRUE(unchanged({"remove_noops"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %a : f32[4] = call_function[target=aten.clone.default](args = (%x,), kwargs = {})
    %b : f32[4] = call_function[target=aten.clone.default](args = (%y,), kwargs = {})
    %v : f32[2,2]{alias=%b} = call_function[target=aten.view.default](args = (%b, [2, 2]), kwargs = {})
    return (%a, %y, %v)
  })"));
}

TEST(RemoveNoops, AnOutputMayBeTheOriginalIfNobodyElseReturnsIt) {
  EXPECT_TRUE(transforms({"remove_noops"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %a : f32[4] = call_function[target=aten.clone.default](args = (%y,), kwargs = {})
    // CHECK: %v : f32[2,2]{alias=%y}
    %v : f32[2,2]{alias=%a} = call_function[target=aten.view.default](args = (%a, [2, 2]), kwargs = {})
    // CHECK: %b : f32[4] = call_function[target=aten.clone
    %b : f32[4] = call_function[target=aten.clone.default](args = (%y,), kwargs = {})
    // CHECK: return (%v, %b)
    return (%v, %b)
  })"));
}

TEST(RemoveNoops, CopiesOfPartsKeepTheOffsetsOfTheirViews) {
  EXPECT_TRUE(transforms({"remove_noops"}, R"(graph g {
    %x : f32[8] = placeholder[target=x]
    %s : f32[4]{offset=4, alias=%x} = call_function[target=aten.slice.Tensor](args = (%x, 0, 4, 8), kwargs = {})
    // CHECK: %a : f32[4] = call_function[target=aten.clone
    %a : f32[4] = call_function[target=aten.clone.default](args = (%s,), kwargs = {})
    // CHECK-NEXT: %v : f32[2,2]{alias=%a}
    %v : f32[2,2]{alias=%a} = call_function[target=aten.view.default](args = (%a, [2, 2]), kwargs = {})
    // CHECK-NOT: clone
    %b : f32[4] = call_function[target=aten.clone.default](args = (%s,), kwargs = {})
    // CHECK: args = (%s,)
    %c : f32[4] = call_function[target=aten.relu.default](args = (%b,), kwargs = {})
    %d : f32[2,2] = call_function[target=aten.relu.default](args = (%v,), kwargs = {})
    return (%c, %d)
  })"));
}

TEST(RemoveNoops, AssertionsAboutTypesThatHold) {
  EXPECT_TRUE(transforms({"remove_noops"}, R"(graph g {
    %x : f32[2,2] = placeholder[target=x]
    // CHECK-NOT: %holds
    %holds = call_function[target=aten._assert_tensor_metadata.default](args = (%x, [2, 2], None, torch.float32), kwargs = {device: device(type='cpu')})
    // CHECK: %fails
    %fails = call_function[target=aten._assert_tensor_metadata.default](args = (%x, None, None, torch.float16), kwargs = {})
    // CHECK-NEXT: %size
    %size = call_function[target=aten._assert_tensor_metadata.default](args = (%x, [4]), kwargs = {})
    return (%x,)
  })"));
}

TEST(RemoveNoops, SaysWhatWasWhat) {
  EXPECT_EQ(notes_of("remove_noops", R"(graph g {
    %x : f32[2,2] = placeholder[target=x]
    %d : f32[2,2]{alias=%x} = call_function[target=aten.dropout.default](args = (%x, 0.1, False), kwargs = {})
    return (%d,)
  })"),
            "%d is %x: aten.dropout.default");
}

}  // namespace
}  // namespace monograph::passes::testing
