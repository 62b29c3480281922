#include "tests/passes/filecheck.h"

namespace monograph::passes::testing {
namespace {

TEST(MaterializeOutputs, OwnedOutputsStay) {
  EXPECT_TRUE(unchanged({"materialize_outputs"}, R"(graph g {
    %x : f32[2,3] = placeholder[target=x]
    %a : f32[2,3] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    %b : f32[2,3] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %v : f32[6]{alias=%b} = call_function[target=aten.view.default](args = (%b, [6]), kwargs = {})
    %c : f32[2,3] = call_function[target=aten.abs.default](args = (%x,), kwargs = {})
    %t : f32[3,2]{strides=[1,3], alias=%c} = call_function[target=aten.t.default](args = (%c,), kwargs = {})
    %d : f32[0,3] = call_function[target=aten.zeros.default](args = ([0, 3],), kwargs = {})
    %e : f32[] = call_function[target=aten.ones.default](args = ([],), kwargs = {})
    return (%a, [%v, None, 3], %t, %d, %e)
  })"));
}

TEST(MaterializeOutputs, AliasesOfInputsWeightsAndStateAreCloned) {
  EXPECT_TRUE(transforms({"materialize_outputs"}, R"(graph g {
    %x : f32[2,3] = placeholder[target=x]
    %w : f32[2,3] = get_attr[target=w, kind=parameter]
    %c : f32[2,3] = get_attr[target=c, kind=constant]
    %s : f32[2,3] = get_attr[target=s, kind=state]
    // CHECK: %clone : f32[2,3] = call_function[target=aten.clone.default](args = (%x,), kwargs = {memory_format: torch.contiguous_format})
    // CHECK-NEXT: %clone_1 : f32[2,3] = call_function[target=aten.clone.default](args = (%w,)
    // CHECK-NEXT: %clone_2 : f32[2,3] = call_function[target=aten.clone.default](args = (%c,)
    // CHECK-NEXT: %clone_3 : f32[2,3] = call_function[target=aten.clone.default](args = (%s,)
    // CHECK-NEXT: return (%clone, %clone_1, %clone_2, %clone_3)
    return (%x, %w, %c, %s)
  })"));
}

TEST(MaterializeOutputs, OneStorageServesOneOutput) {
  EXPECT_TRUE(transforms({"materialize_outputs"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %a : f32[4] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    %v : f32[2,2]{alias=%a} = call_function[target=aten.view.default](args = (%a, [2, 2]), kwargs = {})
    // CHECK: %clone : f32[2,2] = call_function[target=aten.clone.default](args = (%v,)
    // CHECK-NEXT: %clone_1 : f32[4] = call_function[target=aten.clone.default](args = (%a,)
    // CHECK-NEXT: return (%a, [%clone, %clone_1])
    return (%a, [%v, %a])
  })"));
}

TEST(MaterializeOutputs, PartsAreClonedWithEagersStridesWhereDense) {
  EXPECT_TRUE(transforms({"materialize_outputs"}, R"(graph g {
    %x : f32[4,2] = placeholder[target=x]
    %a : f32[4,2] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    %s : f32[2,2]{offset=4, alias=%a} = call_function[target=aten.slice.Tensor](args = (%a, 0, 2, 4), kwargs = {})
    %t : f32[2,2]{strides=[1,2], offset=4, alias=%a} = call_function[target=aten.t.default](args = (%s,), kwargs = {})
    %g : f32[4]{strides=[2], alias=%a} = call_function[target=aten.select.int](args = (%a, 1, 0), kwargs = {})
    %e : f32[3,4]{strides=[0,2], alias=%a} = call_function[target=aten.expand.default](args = (%g, [3, 4]), kwargs = {})
    // CHECK: %clone : f32[2,2] = call_function[target=aten.clone.default](args = (%s,), kwargs = {memory_format: torch.contiguous_format})
    // CHECK-NEXT: %clone_1 : f32[2,2]{strides=[1,2]} = call_function[target=aten.clone.default](args = (%t,), kwargs = {memory_format: torch.preserve_format})
    // CHECK-NEXT: %clone_2 : f32[4] = call_function[target=aten.clone.default](args = (%g,), kwargs = {memory_format: torch.contiguous_format})
    // CHECK-NEXT: %clone_3 : f32[3,4] = call_function[target=aten.clone.default](args = (%e,), kwargs = {memory_format: torch.contiguous_format})
    return (%s, %t, %g, %e)
  })"));
}

TEST(MaterializeOutputs, AStorageLargerThanItsTensorIsNoOutput) {
  EXPECT_TRUE(transforms({"materialize_outputs"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %a : f32[4]{bytes=64} = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    // CHECK: %clone : f32[4] = call_function[target=aten.clone.default](args = (%a,)
    return (%a,)
  })"));
}

TEST(MaterializeOutputs, ListsAreTakenApart) {
  EXPECT_TRUE(transforms({"materialize_outputs"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %sort : (f32[4], i64[4]) = call_function[target=aten.sort.default](args = (%x,), kwargs = {})
    // CHECK: %getitem : f32[4]{alias=%sort#0} = call_function[target=operator.getitem](args = (%sort, 0)
    // CHECK-NEXT: %getitem_1 : i64[4]{alias=%sort#1} = call_function[target=operator.getitem](args = (%sort, 1)
    // CHECK-NEXT: return ([%getitem, %getitem_1],)
    return (%sort,)
  })"));
}

TEST(MaterializeOutputs, SaysWhy) {
  EXPECT_EQ(notes_of("materialize_outputs", R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %a : f32[4] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    %s : f32[2]{alias=%a} = call_function[target=aten.slice.Tensor](args = (%a, 0, 0, 2), kwargs = {})
    return (%x, %a, %a, %s)
  })"),
            "%x -> %clone: it is in the input storage x\n"
            "%a -> %clone_1: another output has this storage\n"
            "%s -> %clone_2: it doesn't fill its storage");
}

}  // namespace
}  // namespace monograph::passes::testing
