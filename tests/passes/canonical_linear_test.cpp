#include <string>

#include "tests/passes/filecheck.h"

namespace monograph::passes::testing {
namespace {

const std::vector<std::string> kPass{"canonical_linear"};

TEST(CanonicalLinear, MmWithTransposedWeight) {
  EXPECT_TRUE(transforms(kPass, R"(graph g {
    %x : f32[2,3] = placeholder[target=x]
    %w : f32[4,3] = get_attr[target=w, kind=parameter]
    %t : f32[3,4]{strides=[1,3], alias=%w} = call_function[target=aten.t.default](args = (%w,), kwargs = {})
    // CHECK: %linear : f32[2,4] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {}) in "fc"
    // CHECK-NOT: aten.mm
    %mm : f32[2,4] = call_function[target=aten.mm.default](args = (%x, %t), kwargs = {}) in "fc"
    // CHECK-NEXT: %relu_ : f32[2,4]{alias=%linear} = call_function[target=aten.relu_.default, writes=(%linear,)]
    %relu_ : f32[2,4]{alias=%mm} = call_function[target=aten.relu_.default, writes=(%mm,)](args = (%mm,), kwargs = {})
    return (%relu_,)
  })"));
}

TEST(CanonicalLinear, EveryWayToTranspose) {
  for (const char* how :
       {"aten.transpose.int](args = (%w, 0, 1)", "aten.permute.default](args = (%w, [1, 0])",
        "aten.numpy_T.default](args = (%w,)",
        "aten.as_strided.default](args = (%w, [3, 4], [1, 3])"}) {
    EXPECT_TRUE(transforms(kPass, std::string(R"(graph g {
      %x : f32[2,3] = placeholder[target=x]
      %w : f32[4,3] = get_attr[target=w, kind=parameter]
      %t : f32[3,4]{strides=[1,3], alias=%w} = call_function[target=)") +
                                      how + R"(, kwargs = {})
      // CHECK: %linear : f32[2,4] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {})
      %mm : f32[2,4] = call_function[target=aten.mm.default](args = (%x, %t), kwargs = {})
      return (%mm,)
    })"))
        << how;
  }
}

TEST(CanonicalLinear, AddmmWithBias) {
  EXPECT_TRUE(transforms(kPass, R"(graph g {
    %x : f32[2,3] = placeholder[target=x]
    %w : f32[4,3] = get_attr[target=w, kind=parameter]
    %b : f32[4] = get_attr[target=b, kind=parameter]
    %t : f32[3,4]{strides=[1,3], alias=%w} = call_function[target=aten.t.default](args = (%w,), kwargs = {})
    // CHECK: args = (%x, %w, %b), kwargs = {})
    %addmm : f32[2,4] = call_function[target=aten.addmm.default](args = (%b, %x, %t), kwargs = {beta: 1, alpha: 1.0})
    %e : f32[2,4]{strides=[0,1], alias=%b} = call_function[target=aten.expand.default](args = (%b, [2, 4]), kwargs = {})
    // CHECK: args = (%linear, %w2, %b), kwargs = {})
    %w2 : f32[4,4] = get_attr[target=w2, kind=parameter]
    %t2 : f32[4,4]{strides=[1,4], alias=%w2} = call_function[target=aten.t.default](args = (%w2,), kwargs = {})
    %addmm_1 : f32[2,4] = call_function[target=aten.addmm.default](args = (%e, %addmm, %t2), kwargs = {})
    return (%addmm_1,)
  })"));
}

TEST(CanonicalLinear, AddmmThatScalesOrAddsAMatrixStays) {
  EXPECT_TRUE(unchanged(kPass, R"(graph g {
    %x : f32[2,3] = placeholder[target=x]
    %r : f32[2,4] = placeholder[target=r]
    %w : f32[4,3] = get_attr[target=w, kind=parameter]
    %b : f32[4] = get_attr[target=b, kind=parameter]
    %c : f32[1] = get_attr[target=c, kind=parameter]
    %t : f32[3,4]{strides=[1,3], alias=%w} = call_function[target=aten.t.default](args = (%w,), kwargs = {})
    %a1 : f32[2,4] = call_function[target=aten.addmm.default](args = (%b, %x, %t), kwargs = {beta: 0.5})
    %a2 : f32[2,4] = call_function[target=aten.addmm.default](args = (%b, %x, %t), kwargs = {alpha: 2})
    %a3 : f32[2,4] = call_function[target=aten.addmm.default](args = (%r, %x, %t), kwargs = {})
    %a4 : f32[2,4] = call_function[target=aten.addmm.default](args = (%c, %x, %t), kwargs = {})
    return (%a1, %a2, %a3, %a4)
  })"));
}

// What C++ torch::nn::Linear leaves of a 3-D input, before and after functionalize.
constexpr const char* kThreeD = R"(graph g {
  %x : f32[2,3,4] = placeholder[target=x]
  %w : f32[5,4] = get_attr[target=w, kind=parameter]
  %b : f32[5] = get_attr[target=b, kind=parameter]
  %t : f32[4,5]{strides=[1,4], alias=%w} = call_function[target=aten.t.default](args = (%w,), kwargs = {})
  %view : f32[6,4]{alias=%x} = call_function[target=aten.view.default](args = (%x, [6, 4]), kwargs = {})
  // CHECK: %linear : f32[2,3,5] = call_function[target=aten.linear.default](args = (%x, %w, %b), kwargs = {})
  %mm : f32[6,5] = call_function[target=aten.mm.default](args = (%view, %t), kwargs = {})
  %_unsafe_view : f32[2,3,5]{alias=%mm} = call_function[target=aten._unsafe_view.default](args = (%mm, [2, 3, 5]), kwargs = {})
  SUM
  // CHECK-NEXT: %abs : f32[2,3,5] = call_function[target=aten.abs.default](args = (%linear,)
  %abs : f32[2,3,5] = call_function[target=aten.abs.default](args = (%sum,), kwargs = {})
  return (%abs,)
})";

std::string with_sum(const char* sum) {
  std::string source = kThreeD;
  return source.replace(source.find("SUM"), 3, sum);
}

TEST(CanonicalLinear, ThreeDimensionsWithBias) {
  EXPECT_TRUE(
      transforms(kPass, with_sum("%sum : f32[2,3,5] = call_function[target=aten.add.Tensor](args = "
                                 "(%_unsafe_view, %b), kwargs = {})")));
  EXPECT_TRUE(
      transforms(kPass, with_sum("%sum : f32[2,3,5] = call_function[target=aten.add.Tensor](args = "
                                 "(%b, %_unsafe_view), kwargs = {alpha: 1})")));
  EXPECT_TRUE(transforms(
      kPass, with_sum("%sum : f32[2,3,5]{alias=%mm} = call_function[target=aten.add_.Tensor, "
                      "writes=(%_unsafe_view,)](args = (%_unsafe_view, %b), kwargs = {})")));
}

TEST(CanonicalLinear, MatmulOfManyDimensions) {
  EXPECT_TRUE(transforms(kPass, R"(graph g {
    %x : f32[2,1,3,4] = placeholder[target=x]
    %v : f32[4] = placeholder[target=v]
    %w : f32[5,4] = get_attr[target=w, kind=parameter]
    %t : f32[4,5]{strides=[1,4], alias=%w} = call_function[target=aten.t.default](args = (%w,), kwargs = {})
    // CHECK: %linear : f32[2,1,3,5] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {})
    %a : f32[2,1,3,5] = call_function[target=aten.matmul.default](args = (%x, %t), kwargs = {})
    // CHECK-NEXT: %linear_1 : f32[5] = call_function[target=aten.linear.default](args = (%v, %w), kwargs = {})
    %b : f32[5] = call_function[target=aten.matmul.default](args = (%v, %t), kwargs = {})
    return (%a, %b)
  })"));
}

TEST(CanonicalLinear, BmmWithOneWeightForAllBatches) {
  EXPECT_TRUE(transforms(kPass, R"(graph g {
    %x : f32[2,3,4]{strides=[4,8,1]} = placeholder[target=x]
    %w : f32[5,4] = get_attr[target=w, kind=parameter]
    %t : f32[4,5]{strides=[1,4], alias=%w} = call_function[target=aten.t.default](args = (%w,), kwargs = {})
    %e : f32[2,4,5]{strides=[0,1,4], alias=%w} = call_function[target=aten.expand.default](args = (%t, [2, 4, 5]), kwargs = {})
    %r : f32[2,4,5]{strides=[0,1,4], alias=%w} = call_function[target=aten.reshape.default](args = (%e, [2, 4, 5]), kwargs = {})
    // CHECK: %linear : f32[2,3,5] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {})
    %bmm : f32[2,3,5] = call_function[target=aten.bmm.default](args = (%x, %r), kwargs = {})
    return (%bmm,)
  })"));
}

TEST(CanonicalLinear, BmmWithAWeightPerBatchStays) {
  EXPECT_TRUE(unchanged(kPass, R"(graph g {
    %x : f32[2,3,4] = placeholder[target=x]
    %w : f32[2,5,4] = get_attr[target=w, kind=parameter]
    %t : f32[2,4,5]{strides=[20,1,4], alias=%w} = call_function[target=aten.transpose.int](args = (%w, 1, 2), kwargs = {})
    %bmm : f32[2,3,5] = call_function[target=aten.bmm.default](args = (%x, %t), kwargs = {})
    return (%bmm,)
  })"));
}

TEST(CanonicalLinear, WeightsThatArentTransposedStay) {
  EXPECT_TRUE(unchanged(kPass, R"(graph g {
    %x : f32[2,3] = placeholder[target=x]
    %w : f32[3,4] = get_attr[target=w, kind=parameter]
    %w2 : f32[4,3] = get_attr[target=w2, kind=parameter]
    %v : f32[3,4]{alias=%w2} = call_function[target=aten.view.default](args = (%w2, [3, 4]), kwargs = {})
    %c : f32[3,4] = call_function[target=aten.cos.default](args = (%w,), kwargs = {})
    %k : f32[3,4]{strides=[0,3], alias=%w2} = call_function[target=aten.as_strided.default](args = (%w2, [3, 4], [0, 3]), kwargs = {})
    %n : f32[3,4]{strides=[1,0], alias=%w2} = call_function[target=aten.as_strided.default](args = (%w2, [3, 4], [1, 0]), kwargs = {})
    %o : f32[3,3]{strides=[1,3], offset=3, alias=%w2} = call_function[target=aten.as_strided.default](args = (%w2, [3, 3], [1, 3], 3), kwargs = {})
    %e : f32[2,4] = call_function[target=aten.mm.default](args = (%x, %k), kwargs = {})
    %f : f32[2,4] = call_function[target=aten.mm.default](args = (%x, %n), kwargs = {})
    %g : f32[2,3] = call_function[target=aten.mm.default](args = (%x, %o), kwargs = {})
    %a : f32[2,4] = call_function[target=aten.mm.default](args = (%x, %w), kwargs = {})
    %b : f32[2,4] = call_function[target=aten.mm.default](args = (%x, %v), kwargs = {})
    %d : f32[2,4] = call_function[target=aten.mm.default](args = (%x, %c), kwargs = {})
    return (%a, %b, %d, %e, %f, %g)
  })"));
}

TEST(CanonicalLinear, OtherDTypesStay) {
  EXPECT_TRUE(unchanged(kPass, R"(graph g {
    %x : i64[2,3] = placeholder[target=x]
    %w : i64[4,3] = get_attr[target=w, kind=buffer]
    %t : i64[3,4]{strides=[1,3], alias=%w} = call_function[target=aten.t.default](args = (%w,), kwargs = {})
    %mm : i64[2,4] = call_function[target=aten.mm.default](args = (%x, %t), kwargs = {})
    return (%mm,)
  })"));
}

TEST(CanonicalLinear, ProductsWithOtherUsersKeepTheirSum) {
  EXPECT_TRUE(transforms(kPass, R"(graph g {
    %x : f32[2,3] = placeholder[target=x]
    %w : f32[4,3] = get_attr[target=w, kind=parameter]
    %b : f32[4] = get_attr[target=b, kind=parameter]
    %t : f32[3,4]{strides=[1,3], alias=%w} = call_function[target=aten.t.default](args = (%w,), kwargs = {})
    // CHECK: %linear : f32[2,4] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {})
    %mm : f32[2,4] = call_function[target=aten.mm.default](args = (%x, %t), kwargs = {})
    // CHECK-NEXT: %a : f32[2,4] = call_function[target=aten.add.Tensor](args = (%linear, %b)
    %a : f32[2,4] = call_function[target=aten.add.Tensor](args = (%mm, %b), kwargs = {})
    return (%a, %mm)
  })"));
}

TEST(CanonicalLinear, ViewsOfProductsWithOtherUsersKeepTheirSum) {
  for (const char* other : {"%v", "%l"}) {
    EXPECT_TRUE(unchanged(kPass, std::string(R"(graph g {
      %x : f32[6,3] = placeholder[target=x]
      %w : f32[4,3] = get_attr[target=w, kind=parameter]
      %b : f32[4] = get_attr[target=b, kind=parameter]
      %l : f32[6,4] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {})
      %v : f32[2,3,4]{alias=%l} = call_function[target=aten.view.default](args = (%l, [2, 3, 4]), kwargs = {})
      %s : f32[2,3,4] = call_function[target=aten.add.Tensor](args = (%v, %b), kwargs = {})
      return (%s, )") + other + R"()
    })"))
        << other;
  }
}

TEST(CanonicalLinear, ABiasThatIsTheProductItselfStays) {
  EXPECT_TRUE(unchanged(kPass, R"(graph g {
    %x : f32[3] = placeholder[target=x]
    %w : f32[4,3] = get_attr[target=w, kind=parameter]
    %l : f32[4] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {})
    %s : f32[4] = call_function[target=aten.add.Tensor](args = (%l, %l), kwargs = {})
    return (%s,)
  })"));
}

TEST(CanonicalLinear, SumsThatAreNoBiasStay) {
  const char* sums[] = {
      "%s : f32[2,4] = call_function[target=aten.add.Tensor](args = (%mm, %b), kwargs = {alpha: "
      "2})",
      "%s : f32[2,4] = call_function[target=aten.add.Tensor](args = (%mm, %r), kwargs = {})",
      "%s : f32[2,4] = call_function[target=aten.add.Tensor](args = (%mm, %c), kwargs = {})",
      "%s : f32[2,4] = call_function[target=aten.add.Tensor](args = (%mm, %z), kwargs = {})",
      "%s : f64[2,4] = call_function[target=aten.add.Tensor](args = (%mm, %d), kwargs = {})",
      "%s : f32[3,2,4] = call_function[target=aten.add.Tensor](args = (%mm, %e), kwargs = {})",
      "%s : f32[2,4] = call_function[target=aten.add.Scalar](args = (%mm, 1.0), kwargs = {})",
      "%s : f32[2,4] = call_function[target=aten.sub.Tensor](args = (%mm, %b), kwargs = {})",
      "%s : f32[2,4]{strides=[1,2]} = call_function[target=aten.add.Tensor](args = (%mm, %b), "
      "kwargs = {})"};
  for (const char* sum : sums) {
    EXPECT_TRUE(unchanged(kPass, std::string(R"(graph g {
      %x : f32[2,3] = placeholder[target=x]
      %r : f32[2,4] = placeholder[target=r]
      %d : f64[4] = placeholder[target=d]
      %e : f32[3,1,4] = placeholder[target=e]
      %w : f32[4,3] = get_attr[target=w, kind=parameter]
      %b : f32[4] = get_attr[target=b, kind=parameter]
      %c : f32[1] = get_attr[target=c, kind=parameter]
      %z : f32[] = get_attr[target=z, kind=parameter]
      %mm : f32[2,4] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {})
      )") + sum + R"(
      return (%s,)
    })"))
        << sum;
  }
}

TEST(CanonicalLinear, ALinearWithBiasTakesNoSecondOne) {
  EXPECT_TRUE(unchanged(kPass, R"(graph g {
    %x : f32[2,3] = placeholder[target=x]
    %w : f32[4,3] = get_attr[target=w, kind=parameter]
    %b : f32[4] = get_attr[target=b, kind=parameter]
    %l : f32[2,4] = call_function[target=aten.linear.default](args = (%x, %w, %b), kwargs = {})
    %s : f32[2,4] = call_function[target=aten.add.Tensor](args = (%l, %b), kwargs = {})
    return (%s,)
  })"));
}

TEST(CanonicalLinear, ABiasDefinedInBetweenMovesTheProductDown) {
  EXPECT_TRUE(transforms(kPass, R"(graph g {
    %x : f32[2,3] = placeholder[target=x]
    %w : f32[4,3] = get_attr[target=w, kind=parameter]
    %l : f32[2,4] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {})
    // CHECK: %b : f32[4]
    %b : f32[4] = call_function[target=aten.rand.default, traits=(random,)](args = ([4],), kwargs = {})
    // CHECK-NEXT: %l : f32[2,4] = call_function[target=aten.linear.default](args = (%x, %w, %b)
    %s : f32[2,4] = call_function[target=aten.add.Tensor](args = (%l, %b), kwargs = {})
    // CHECK-NEXT: return (%l,)
    return (%s,)
  })"));
}

TEST(CanonicalLinear, AWriteToWhatTheProductReadsKeepsItWhereItIs) {
  for (const char* victim : {"%y", "%v"}) {
    std::string source = R"(graph g {
      %x : f32[4,4] = placeholder[target=x]
      %b : f32[4] = get_attr[target=b, kind=parameter]
      %y : f32[4,4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
      %v : f32[4,4] = call_function[target=aten.abs.default](args = (%x,), kwargs = {})
      %l : f32[4,4] = call_function[target=aten.linear.default](args = (%y, %v), kwargs = {})
      %z : f32[4,4]{alias=VICTIM} = call_function[target=aten.zero_.default, writes=(VICTIM,)](args = (VICTIM,), kwargs = {})
      %s : f32[4,4] = call_function[target=aten.add.Tensor](args = (%l, %b), kwargs = {})
      return (%s,)
    })";
    for (std::size_t at; (at = source.find("VICTIM")) != std::string::npos;)
      source.replace(at, 6, victim);
    EXPECT_TRUE(unchanged(kPass, source)) << victim;
  }
}

TEST(CanonicalLinear, AWriteThroughARewrittenProductIsStillSeen) {
  // The first product becomes a linear with a storage of its own; the write to it must keep the
  // second product, which reads it, in front.
  EXPECT_TRUE(transforms(kPass, R"(graph g {
    %x : f32[4,4] = placeholder[target=x]
    %w : f32[4,4] = get_attr[target=w, kind=parameter]
    %b : f32[4] = get_attr[target=b, kind=parameter]
    %t : f32[4,4]{strides=[1,4], alias=%w} = call_function[target=aten.t.default](args = (%w,), kwargs = {})
    %mm : f32[4,4] = call_function[target=aten.mm.default](args = (%x, %t), kwargs = {})
    // CHECK: %linear_1 : f32[4,4] = call_function[target=aten.linear.default](args = (%linear, %w), kwargs = {})
    %mm_1 : f32[4,4] = call_function[target=aten.mm.default](args = (%mm, %t), kwargs = {})
    // CHECK-NEXT: %z
    %z : f32[4,4]{alias=%mm} = call_function[target=aten.zero_.default, writes=(%mm,)](args = (%mm,), kwargs = {})
    // CHECK-NEXT: %s : f32[4,4] = call_function[target=aten.add.Tensor](args = (%linear_1, %b)
    %s : f32[4,4] = call_function[target=aten.add.Tensor](args = (%mm_1, %b), kwargs = {})
    return (%s, %z)
  })"));
}

TEST(CanonicalLinear, HeadsSplitAfterTheProductKeepTheirView) {
  EXPECT_TRUE(transforms(kPass, R"(graph g {
    %x : f32[6,4] = placeholder[target=x]
    %w : f32[6,4] = get_attr[target=w, kind=parameter]
    %b : f32[6] = get_attr[target=b, kind=parameter]
    %t : f32[4,6]{strides=[1,4], alias=%w} = call_function[target=aten.t.default](args = (%w,), kwargs = {})
    // CHECK: %linear : f32[6,6] = call_function[target=aten.linear.default](args = (%x, %w, %b), kwargs = {})
    %mm : f32[6,6] = call_function[target=aten.mm.default](args = (%x, %t), kwargs = {})
    // CHECK-NEXT: %v : f32[2,3,6]{alias=%linear} = call_function[target=aten.view.default](args = (%linear, [2, 3, 6])
    %v : f32[2,3,6]{alias=%mm} = call_function[target=aten.view.default](args = (%mm, [2, 3, 6]), kwargs = {})
    %s : f32[2,3,6] = call_function[target=aten.add.Tensor](args = (%v, %b), kwargs = {})
    // CHECK-NEXT: %h : f32[2,3,2,3]{alias=%linear} = call_function[target=aten.view.default](args = (%v, [2, 3, 2, 3])
    %h : f32[2,3,2,3]{alias=%s} = call_function[target=aten.view.default](args = (%s, [2, 3, 2, 3]), kwargs = {})
    %r : f32[2,3,2,3] = call_function[target=aten.relu.default](args = (%h,), kwargs = {})
    return (%r,)
  })"));
}

TEST(CanonicalLinear, ViewsThatChangeTheRowsStay) {
  EXPECT_TRUE(unchanged(kPass, R"(graph g {
    %x : f32[2,3,4] = placeholder[target=x]
    %w : f32[6,8] = get_attr[target=w, kind=parameter]
    %b : f32[3] = get_attr[target=b, kind=parameter]
    %rows : f32[3,8]{alias=%x} = call_function[target=aten.view.default](args = (%x, [3, 8]), kwargs = {})
    %l : f32[3,6] = call_function[target=aten.linear.default](args = (%rows, %w), kwargs = {})
    %v : f32[2,3,3]{alias=%l} = call_function[target=aten.view.default](args = (%l, [2, 3, 3]), kwargs = {})
    %s : f32[2,3,3] = call_function[target=aten.add.Tensor](args = (%v, %b), kwargs = {})
    return (%s,)
  })"));
}

TEST(CanonicalLinear, ViewsBackToOtherRowsStay) {
  EXPECT_TRUE(unchanged(kPass, R"(graph g {
    %x : f32[2,3,4] = placeholder[target=x]
    %w : f32[5,4] = get_attr[target=w, kind=parameter]
    %rows : f32[6,4]{alias=%x} = call_function[target=aten.view.default](args = (%x, [6, 4]), kwargs = {})
    %l : f32[6,5] = call_function[target=aten.linear.default](args = (%rows, %w), kwargs = {})
    %v : f32[3,2,5]{alias=%l} = call_function[target=aten.view.default](args = (%l, [3, 2, 5]), kwargs = {})
    return (%v,)
  })"));
}

TEST(CanonicalLinear, SaysWhatItMatched) {
  EXPECT_EQ(notes_of("canonical_linear",
                     with_sum("%sum : f32[2,3,5] = call_function[target=aten.add.Tensor](args = "
                              "(%_unsafe_view, %b), kwargs = {})")),
            "%t + %mm -> %linear\n"
            "%view + %linear + %_unsafe_view -> %linear\n"
            "%linear + %sum -> %linear");
}

}  // namespace
}  // namespace monograph::passes::testing
