#include <gmock/gmock.h>

#include "tests/passes/filecheck.h"

namespace monograph::passes::testing {
namespace {

TEST(Functionalize, WholeIntermediates) {
  EXPECT_TRUE(transforms({"functionalize"}, R"(graph g {
    %x : f32[2,3] = placeholder[target=x]
    %b : f32[3] = get_attr[target=b, kind=parameter]
    %mm : f32[2,3] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    // CHECK: %add : f32[2,3] = call_function[target=aten.add.Tensor](args = (%mm, %b), kwargs = {alpha: 2}) in "fc" at "m.cpp:7"
    %add_ : f32[2,3]{alias=%mm} = call_function[target=aten.add_.Tensor, writes=(%mm,)](args = (%mm, %b), kwargs = {alpha: 2}) in "fc" at "m.cpp:7"
    // CHECK-NEXT: %relu : f32[2,3] = call_function[target=aten.relu.default](args = (%add,)
    %relu_ : f32[2,3]{alias=%mm} = call_function[target=aten.relu_.default, writes=(%add_,)](args = (%add_,), kwargs = {})
    // CHECK-NEXT: return (%relu,)
    return (%relu_,)
  })"));
}

TEST(Functionalize, LaterUsesOfTheOldNameFollow) {
  EXPECT_TRUE(transforms({"functionalize"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    // CHECK: %before : f32[4] = call_function[target=aten.abs.default](args = (%y,)
    %before : f32[4] = call_function[target=aten.abs.default](args = (%y,), kwargs = {})
    // CHECK-NEXT: %relu : f32[4] = call_function[target=aten.relu.default](args = (%y,)
    %relu_ : f32[4]{alias=%y} = call_function[target=aten.relu_.default, writes=(%y,)](args = (%y,), kwargs = {})
    // CHECK-NEXT: %mul : f32[4] = call_function[target=aten.mul.Scalar](args = (%relu, 3)
    %mul_ : f32[4]{alias=%y} = call_function[target=aten.mul_.Scalar, writes=(%y,)](args = (%y, 3), kwargs = {})
    // CHECK-NEXT: %v : f32[2,2]{alias=%mul} = call_function[target=aten.view.default](args = (%mul,
    %v : f32[2,2]{alias=%y} = call_function[target=aten.view.default](args = (%y, [2, 2]), kwargs = {})
    // CHECK-NEXT: %u : f32[2,2]{alias=%mul} = call_function[target=aten.view.default](args = (%mul,
    %u : f32[2,2]{alias=%y} = call_function[target=aten.view.default](args = (%relu_, [2, 2]), kwargs = {})
    // CHECK-NEXT: return (%before, %v, %u, %mul)
    return (%before, %v, %u, %y)
  })"));
}

TEST(Functionalize, AWriteThroughAReshapedViewOfTheWhole) {
  EXPECT_TRUE(transforms({"functionalize"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %b : f32[2] = get_attr[target=b, kind=parameter]
    %mm : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %v : f32[2,2]{alias=%mm} = call_function[target=aten._unsafe_view.default](args = (%mm, [2, 2]), kwargs = {})
    // CHECK: %add : f32[2,2] = call_function[target=aten.add.Tensor](args = (%v, %b)
    %add_ : f32[2,2]{alias=%mm} = call_function[target=aten.add_.Tensor, writes=(%v,)](args = (%v, %b), kwargs = {})
    // CHECK: return (%add, %add)
    return (%add_, %v)
  })"));
}

TEST(Functionalize, AViewTakenBeforeAndUsedAfterKeepsTheWrite) {
  EXPECT_TRUE(unchanged({"functionalize"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %v : f32[2,2]{alias=%y} = call_function[target=aten.view.default](args = (%y, [2, 2]), kwargs = {})
    %relu_ : f32[4]{alias=%y} = call_function[target=aten.relu_.default, writes=(%y,)](args = (%y,), kwargs = {})
    return (%relu_, %v)
  })"));
}

TEST(Functionalize, AViewUsedLongestAmongManyKeepsTheWrite) {
  // Views of three types, the one used after the write neither first nor last.
  EXPECT_TRUE(unchanged({"functionalize"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %u : f32[1,4]{alias=%y} = call_function[target=aten.view.default](args = (%y, [1, 4]), kwargs = {})
    %v : f32[2,2]{alias=%y} = call_function[target=aten.view.default](args = (%y, [2, 2]), kwargs = {})
    %w : f32[4,1]{alias=%y} = call_function[target=aten.view.default](args = (%y, [4, 1]), kwargs = {})
    %a : f32[4,4] = call_function[target=aten.add.Tensor](args = (%w, %u), kwargs = {})
    %relu_ : f32[4]{alias=%y} = call_function[target=aten.relu_.default, writes=(%y,)](args = (%y,), kwargs = {})
    %b : f32[2,2] = call_function[target=aten.abs.default](args = (%v,), kwargs = {})
    return (%relu_, %b)
  })"));
}

TEST(Functionalize, AnOldNameUsedAfterASecondWriteKeepsThatWrite) {
  // The first write goes; %y then stands for its result and is used, as another shape, to the end.
  EXPECT_TRUE(transforms({"functionalize"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    // CHECK: %relu :
    %relu_ : f32[4]{alias=%y} = call_function[target=aten.relu_.default, writes=(%y,)](args = (%y,), kwargs = {})
    %v : f32[2,2]{alias=%y} = call_function[target=aten.view.default](args = (%relu_, [2, 2]), kwargs = {})
    // CHECK: %exp_ : f32[2,2]{alias=%relu} = call_function[target=aten.exp_.default, writes=(%v,)]
    %exp_ : f32[2,2]{alias=%y} = call_function[target=aten.exp_.default, writes=(%v,)](args = (%v,), kwargs = {})
    // CHECK: return (%relu, %exp_)
    return (%y, %exp_)
  })"));
}

TEST(Functionalize, AnElementOfAListTakenLaterKeepsTheWrite) {
  EXPECT_TRUE(unchanged({"functionalize"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %sort : (f32[4], i64[4]) = call_function[target=aten.sort.default](args = (%x,), kwargs = {})
    %v : f32[4]{alias=%sort#0} = call_function[target=operator.getitem](args = (%sort, 0), kwargs = {})
    %relu_ : f32[4]{alias=%sort#0} = call_function[target=aten.relu_.default, writes=(%v,)](args = (%v,), kwargs = {})
    %w : f32[4]{alias=%sort#0} = call_function[target=operator.getitem](args = (%sort, 0), kwargs = {})
    return (%w,)
  })"));
}

TEST(Functionalize, OtherElementsOfAListDontMatter) {
  EXPECT_TRUE(transforms({"functionalize"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %sort : (f32[4], i64[4]) = call_function[target=aten.sort.default](args = (%x,), kwargs = {})
    %v : f32[4]{alias=%sort#0} = call_function[target=operator.getitem](args = (%sort, 0), kwargs = {})
    // CHECK: %relu : f32[4] = call_function[target=aten.relu.default](args = (%v,)
    %relu_ : f32[4]{alias=%sort#0} = call_function[target=aten.relu_.default, writes=(%v,)](args = (%v,), kwargs = {})
    %i : i64[4]{alias=%sort#1} = call_function[target=operator.getitem](args = (%sort, 1), kwargs = {})
    return (%v, %i)
  })"));
}

TEST(Functionalize, WritesToPartsAndOddLayoutsStay) {
  EXPECT_TRUE(unchanged({"functionalize"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %p : f32[2]{alias=%y} = call_function[target=aten.slice.Tensor](args = (%y, 0, 0, 2), kwargs = {})
    %a : f32[2]{alias=%y} = call_function[target=aten.relu_.default, writes=(%p,)](args = (%p,), kwargs = {})
    %z : f32[2,2] = call_function[target=aten.rand.default, traits=(random,)](args = ([2, 2],), kwargs = {})
    %t : f32[2,2]{strides=[1,2], alias=%z} = call_function[target=aten.t.default](args = (%z,), kwargs = {})
    %b : f32[2,2]{strides=[1,2], alias=%z} = call_function[target=aten.relu_.default, writes=(%t,)](args = (%t,), kwargs = {})
    return (%y, %b)
  })"));
}

TEST(Functionalize, StateIsWrittenInPlace) {
  EXPECT_TRUE(unchanged({"functionalize"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %s : f32[4] = get_attr[target=s, kind=state]
    %a : f32[4]{alias=%s} = call_function[target=aten.add_.Tensor, writes=(%s,)](args = (%s, %x), kwargs = {})
    %r : f32[4] = call_function[target=aten.relu.default](args = (%a,), kwargs = {})
    return (%r,)
  })"));
}

TEST(Functionalize, ConvertingRandomPartialAndUnknownWritesStay) {
  // add_ of f64 to f32 gives f32, add gives f64; ne_ keeps the dtype, ne gives bool.
  EXPECT_TRUE(unchanged({"functionalize"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %d : f64[4] = placeholder[target=d]
    %i : i64[1] = placeholder[target=i]
    %a : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %a1 : f32[4]{alias=%a} = call_function[target=aten.add_.Tensor, writes=(%a,)](args = (%a, %d), kwargs = {})
    %b : f32[4] = call_function[target=aten.abs.default](args = (%x,), kwargs = {})
    %b1 : f32[4]{alias=%b} = call_function[target=aten.ne_.Scalar, writes=(%b,)](args = (%b, 0), kwargs = {})
    %c : f32[4] = call_function[target=aten.sin.default](args = (%x,), kwargs = {})
    %c1 : f32[4]{alias=%c} = call_function[target=aten.uniform_.default, writes=(%c,), traits=(random,)](args = (%c, 0.0, 1.0), kwargs = {})
    %e : f32[4] = call_function[target=aten.cos.default](args = (%x,), kwargs = {})
    %e1 : f32[4]{alias=%e} = call_function[target=aten.index_fill_.int_Scalar, writes=(%e,)](args = (%e, 0, %i, 1.0), kwargs = {})
    %f : f32[4] = call_function[target=aten.tan.default](args = (%x,), kwargs = {})
    %f1 : f32[4]{alias=%f} = call_function[target=mine.add_.default, writes=(%f,)](args = (%f, %x), kwargs = {})
    %g : c64[4] = call_function[target=aten.complex.default](args = (%x, %x), kwargs = {})
    %g1 : c64[4]{alias=%g} = call_function[target=aten.mul_.Scalar, writes=(%g,)](args = (%g, 2), kwargs = {})
    %h : f32[4] = call_function[target=aten.exp.default](args = (%x,), kwargs = {})
    %h1 : f32[4]{alias=%h} = call_function[target=aten.add.out, writes=(%h,)](args = (%x, %x), kwargs = {out: %h})
    return (%a1, %b1, %c1, %e1, %f1, %g1, %h1)
  })"));
}

TEST(Functionalize, OperandsThatShareTheMemoryMustMatchElementByElement) {
  EXPECT_TRUE(unchanged({"functionalize"}, R"(graph g {
    %x : f32[2,2] = placeholder[target=x]
    %y : f32[2,2] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %t : f32[2,2]{strides=[1,2], alias=%y} = call_function[target=aten.t.default](args = (%y,), kwargs = {})
    %a : f32[2,2]{alias=%y} = call_function[target=aten.add_.Tensor, writes=(%y,)](args = (%y, %t), kwargs = {})
    return (%a,)
  })"));
  EXPECT_TRUE(transforms({"functionalize"}, R"(graph g {
    %x : f32[2,2] = placeholder[target=x]
    %y : f32[2,2] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    // CHECK: aten.mul.Tensor](args = (%y, %y)
    %a : f32[2,2]{alias=%y} = call_function[target=aten.mul_.Tensor, writes=(%y,)](args = (%y, %y), kwargs = {})
    return (%a,)
  })"));
}

TEST(Functionalize, FillsAndCopiesForgetTheOldContents) {
  EXPECT_TRUE(transforms({"functionalize"}, R"(graph g {
    %x : f32[2,2] = placeholder[target=x]
    %h : f16[2,2] = placeholder[target=h]
    %e : f32[2,2] = call_function[target=aten.empty.memory_format](args = ([2, 2],), kwargs = {})
    // CHECK: %full : f32[2,2] = call_function[target=aten.full.default](args = ([2, 2], 0.5), kwargs = {dtype: torch.float32, device: device(type='cpu')})
    %f : f32[2,2]{alias=%e} = call_function[target=aten.fill_.Scalar, writes=(%e,)](args = (%e, 0.5), kwargs = {})
    %e1 : f32[2,2] = call_function[target=aten.empty.memory_format](args = ([2, 2],), kwargs = {})
    // CHECK: %zeros : f32[2,2] = call_function[target=aten.zeros.default](args = ([2, 2],), kwargs = {dtype: torch.float32, device: device(type='cpu')})
    %z : f32[2,2]{alias=%e1} = call_function[target=aten.zero_.default, writes=(%e1,)](args = (%e1,), kwargs = {})
    %e2 : f32[2,2] = call_function[target=aten.empty.memory_format](args = ([2, 2],), kwargs = {})
    // CHECK: %clone : f32[2,2] = call_function[target=aten.clone.default](args = (%x,), kwargs = {memory_format: torch.contiguous_format})
    %c : f32[2,2]{alias=%e2} = call_function[target=aten.copy_.default, writes=(%e2,)](args = (%e2, %x), kwargs = {})
    %e3 : f32[2,2] = call_function[target=aten.empty.memory_format](args = ([2, 2],), kwargs = {})
    // CHECK: %_to_copy : f32[2,2] = call_function[target=aten._to_copy.default](args = (%h,), kwargs = {dtype: torch.float32, memory_format: torch.contiguous_format})
    %d : f32[2,2]{alias=%e3} = call_function[target=aten.copy_.default, writes=(%e3,)](args = (%e3, %h), kwargs = {})
    return (%f, %z, %c, %d)
  })"));
}

TEST(Functionalize, BroadcastingAndOverlappingCopiesStay) {
  EXPECT_TRUE(unchanged({"functionalize"}, R"(graph g {
    %x : f32[2] = placeholder[target=x]
    %y : f32[2,2] = call_function[target=aten.rand.default, traits=(random,)](args = ([2, 2],), kwargs = {})
    %a : f32[2,2]{alias=%y} = call_function[target=aten.copy_.default, writes=(%y,)](args = (%y, %x), kwargs = {})
    %t : f32[2,2]{strides=[1,2], alias=%y} = call_function[target=aten.t.default](args = (%y,), kwargs = {})
    %b : f32[2,2]{alias=%y} = call_function[target=aten.copy_.default, writes=(%y,)](args = (%y, %t), kwargs = {})
    return (%b,)
  })"));
}

TEST(Functionalize, MasksMayBeBoolAndPowHasItsOwnOverloads) {
  EXPECT_TRUE(transforms({"functionalize"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %m : bool[4] = placeholder[target=m]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    // CHECK: %masked_fill : f32[4] = call_function[target=aten.masked_fill.Scalar](args = (%y, %m, -inf)
    %a : f32[4]{alias=%y} = call_function[target=aten.masked_fill_.Scalar, writes=(%y,)](args = (%y, %m, -inf), kwargs = {})
    // CHECK: %pow : f32[4] = call_function[target=aten.pow.Tensor_Scalar](args = (%masked_fill, 2)
    %b : f32[4]{alias=%y} = call_function[target=aten.pow_.Scalar, writes=(%a,)](args = (%a, 2), kwargs = {})
    // CHECK: aten.pow.Tensor_Tensor](args = (%pow, %x)
    %c : f32[4]{alias=%y} = call_function[target=aten.pow_.Tensor, writes=(%b,)](args = (%b, %x), kwargs = {})
    return (%c,)
  })"));
}

TEST(Functionalize, LaterPartialWritesGoToTheNewTensor) {
  EXPECT_TRUE(transforms({"functionalize"}, R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    // CHECK: %relu :
    %r : f32[4]{alias=%y} = call_function[target=aten.relu_.default, writes=(%y,)](args = (%y,), kwargs = {})
    // CHECK: %s : f32[2]{alias=%relu} = call_function[target=aten.slice.Tensor](args = (%relu,
    %s : f32[2]{alias=%y} = call_function[target=aten.slice.Tensor](args = (%y, 0, 0, 2), kwargs = {})
    // CHECK: %z : f32[2]{alias=%relu} = call_function[target=aten.zero_.default, writes=(%s,)](args = (%s,)
    %z : f32[2]{alias=%y} = call_function[target=aten.zero_.default, writes=(%s,)](args = (%s,), kwargs = {})
    // CHECK: return (%relu,)
    return (%y,)
  })"));
}

TEST(Functionalize, SaysWhatBecameOfTheWrite) {
  EXPECT_THAT(notes_of("functionalize", R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %r : f32[4]{alias=%y} = call_function[target=aten.relu_.default, writes=(%y,)](args = (%y,), kwargs = {})
    return (%r,)
  })"),
              ::testing::StartsWith("%r -> %relu: aten.relu_.default"));
}

// Taking calls off a list of users from the front, one by one, would take minutes here.
TEST(Functionalize, ThousandsOfWritesToOneTensor) {
  constexpr int kCalls = 50000;
  ir::Graph graph("hub");
  const ir::TensorType type = ir::TensorType::contiguous(ir::DType::kF32, {4});
  ir::Node* x = graph.placeholder("x", type);
  ir::Node* hub = graph.call("aten.neg.default", {x}, {}, ir::Results::tensor(type));
  for (int i = 0; i < kCalls; ++i) {
    graph.call("aten.relu_.default", {hub}, {}, ir::Results::tensor(type, hub->storage()), {hub});
  }
  ir::Node* end = graph.call("aten.exp.default", {hub}, {}, ir::Results::tensor(type));
  graph.output({end});
  PassContext context;
  const std::vector<PassReport> reports = run_passes(graph, {"functionalize"}, context);
  EXPECT_EQ(reports.at(0).changes, kCalls);
  EXPECT_EQ(graph.size(), static_cast<std::size_t>(kCalls) + 4);
  for (const auto& node : graph.nodes()) ASSERT_TRUE(node->writes().empty());
}

}  // namespace
}  // namespace monograph::passes::testing
