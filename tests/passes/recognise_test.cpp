// rms_norm, outer_products, fold_batch_norm, pack_linears.
#include <string>

#include "tests/passes/filecheck.h"

namespace monograph::passes::testing {
namespace {

constexpr double kTolerance = 1e-12;

TEST(RmsNorm, WithCastsAndWeight) {
  for (const char* power :
       {"aten.pow.Tensor_Scalar](args = (%w, 2)", "aten.mul.Tensor](args = (%w, %w)"}) {
    EXPECT_TRUE(transforms_within(kTolerance, {"rms_norm", "dead_code"}, std::string(R"(graph g {
      %x : bf16[2,4] = placeholder[target=x]
      %g : bf16[4] = get_attr[target=g, kind=parameter]
      %w : f32[2,4] = call_function[target=aten._to_copy.default](args = (%x,), kwargs = {dtype: torch.float32})
      %p : f32[2,4] = call_function[target=)") + power + R"(, kwargs = {})
      %m : f32[2,1] = call_function[target=aten.mean.dim](args = (%p, [-1], True), kwargs = {})
      %e : f32[2,1] = call_function[target=aten.add.Tensor](args = (%m, 1e-05), kwargs = {})
      %r : f32[2,1] = call_function[target=aten.rsqrt.default](args = (%e,), kwargs = {})
      %n : f32[2,4] = call_function[target=aten.mul.Tensor](args = (%w, %r), kwargs = {})
      %c : bf16[2,4] = call_function[target=aten._to_copy.default](args = (%n,), kwargs = {dtype: torch.bfloat16})
      // CHECK-NOT: rsqrt
      // CHECK: %rms_norm : bf16[2,4] = call_function[target=aten.rms_norm.default](args = (%x, [4], %g, 1e-05), kwargs = {}) in "norm"
      %y : bf16[2,4] = call_function[target=aten.mul.Tensor](args = (%g, %c), kwargs = {}) in "norm"
      %z : bf16[2,4] = call_function[target=aten.neg.default](args = (%y,), kwargs = {})
      return (%z,)
    })"));
  }
}

TEST(RmsNorm, WithoutWeight) {
  EXPECT_TRUE(transforms_within(kTolerance, {"rms_norm", "dead_code"}, R"(graph g {
    %x : f32[2,4] = placeholder[target=x]
    %p : f32[2,4] = call_function[target=aten.pow.Tensor_Scalar](args = (%x, 2), kwargs = {})
    %m : f32[2,1] = call_function[target=aten.mean.dim](args = (%p, [-1], True), kwargs = {})
    %e : f32[2,1] = call_function[target=aten.add.Tensor](args = (%m, 0.25), kwargs = {})
    %r : f32[2,1] = call_function[target=aten.rsqrt.default](args = (%e,), kwargs = {})
    // CHECK: %rms_norm : f32[2,4] = call_function[target=aten.rms_norm.default](args = (%x, [4], None, 0.25)
    %n : f32[2,4] = call_function[target=aten.mul.Tensor](args = (%r, %x), kwargs = {})
    return (%n,)
  })"));
}

TEST(OuterProducts, OfSingleElementsArePointwise) {
  EXPECT_TRUE(transforms_within(kTolerance, {"outer_products"}, R"(graph g {
    %x : f32[2,3,1] = placeholder[target=x]
    %p : f32[2,1,5] = placeholder[target=p]
    // CHECK: %f : f32[2,3,5] = call_function[target=aten.mul.Tensor](args = (%x, %p), kwargs = {})
    %f : f32[2,3,5] = call_function[target=aten.bmm.default](args = (%x, %p), kwargs = {})
    return (%f,)
  })"));
}

TEST(OuterProducts, SumsStayProducts) {
  EXPECT_TRUE(unchanged({"outer_products"}, R"(graph g {
    %x : f32[2,3,2] = placeholder[target=x]
    %p : f32[2,2,5] = placeholder[target=p]
    %f : f32[2,3,5] = call_function[target=aten.bmm.default](args = (%x, %p), kwargs = {})
    return (%f,)
  })"));
}

TEST(RmsNorm, NotOverOtherDimensionsOrOfOtherThings) {
  for (const char* mean : {"(%p, [0], True)", "(%p, [-1], False)"}) {
    EXPECT_TRUE(unchanged({"rms_norm"}, std::string(R"(graph g {
      %x : f32[4,4] = placeholder[target=x]
      %p : f32[4,4] = call_function[target=aten.pow.Tensor_Scalar](args = (%x, 2), kwargs = {})
      %m : f32[4,1] = call_function[target=aten.opaque_mean.dim](args = )") +
                                            mean + R"(, kwargs = {})
      %e : f32[4,1] = call_function[target=aten.add.Tensor](args = (%m, 0.25), kwargs = {})
      %r : f32[4,1] = call_function[target=aten.rsqrt.default](args = (%e,), kwargs = {})
      %n : f32[4,4] = call_function[target=aten.mul.Tensor](args = (%r, %x), kwargs = {})
      return (%n,)
    })"));
  }
  // The scale belongs to another tensor.
  EXPECT_TRUE(unchanged({"rms_norm"}, R"(graph g {
    %x : f32[2,4] = placeholder[target=x]
    %y : f32[2,4] = placeholder[target=y]
    %p : f32[2,4] = call_function[target=aten.pow.Tensor_Scalar](args = (%x, 2), kwargs = {})
    %m : f32[2,1] = call_function[target=aten.mean.dim](args = (%p, [-1], True), kwargs = {})
    %e : f32[2,1] = call_function[target=aten.add.Tensor](args = (%m, 0.25), kwargs = {})
    %r : f32[2,1] = call_function[target=aten.rsqrt.default](args = (%e,), kwargs = {})
    %n : f32[2,4] = call_function[target=aten.mul.Tensor](args = (%y, %r), kwargs = {})
    return (%n,)
  })"));
}

constexpr const char* kConvolution = R"(graph g {
    %x : f32[2,3,2,2] = placeholder[target=x]
    %w : f32[4,3,1,1] = get_attr[target=w, kind=parameter]
    %b : f32[4] = get_attr[target=b, kind=parameter]
    %gamma : f32[4] = get_attr[target=gamma, kind=parameter]
    %beta : f32[4] = get_attr[target=beta, kind=parameter]
    %mean : f32[4] = get_attr[target=mean, kind=buffer]
    %var : f32[4] = get_attr[target=var, kind=buffer]
    // CHECK-NOT: batch_norm
    // CHECK: %y : f32[2,4,2,2] = call_function[target=aten.conv2d.default](args = (%x, %folded_
    %y : f32[2,4,2,2] = call_function[target=aten.conv2d.default](args = (%x, %w, BIAS), kwargs = {})
    %n : f32[2,4,2,2] = call_function[target=aten.batch_norm.default](args = (%y, %gamma, %beta, %mean, %var, TRAIN, 0.1, 3.0, True), kwargs = {})
    // CHECK: aten.relu.default](args = (%y,)
    %r : f32[2,4,2,2] = call_function[target=aten.relu.default](args = (%n,), kwargs = {})
    return (%r,)
  })";

std::string convolution(const char* bias, const char* training) {
  std::string source = kConvolution;
  source.replace(source.find("BIAS"), 4, bias);
  return source.replace(source.find("TRAIN"), 5, training);
}

TEST(FoldBatchNorm, IntoWeightAndBias) {
  const std::vector<std::string> passes{"fold_batch_norm", "constant_folding", "dead_code"};
  EXPECT_TRUE(transforms_within(kTolerance, passes, convolution("%b", "False")));
  EXPECT_TRUE(transforms_within(kTolerance, passes, convolution("None", "False")));
}

TEST(FoldBatchNorm, NotInTraining) {
  EXPECT_TRUE(unchanged({"fold_batch_norm"}, convolution("%b", "True")));
}

TEST(PackLinears, SharedInput) {
  EXPECT_TRUE(transforms({"pack_linears"}, R"(graph g {
    %x : f32[2,3,4] = placeholder[target=x]
    %w : f32[6,4] = get_attr[target=w, kind=parameter]
    %u : f32[2,4] = get_attr[target=u, kind=parameter]
    // CHECK: %folded_0 : f32[8,4] = get_attr[target=folded_0, kind=constant]
    // CHECK-NEXT: %packed_linear : f32[2,3,8] = call_function[target=aten.linear.default](args = (%x, %folded_0), kwargs = {}) in "a"
    // CHECK-NEXT: %slice : f32[2,3,6]{strides=[24,8,1], alias=%packed_linear} = call_function[target=aten.slice.Tensor](args = (%packed_linear, -1, 0, 6), kwargs = {}) in "a"
    // CHECK: %slice_1 : f32[2,3,2]{strides=[24,8,1], offset=6, alias=%packed_linear} = call_function[target=aten.slice.Tensor](args = (%packed_linear, -1, 6, 8), kwargs = {}) in "b"
    %a : f32[2,3,6] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {}) in "a"
    %b : f32[2,3,2] = call_function[target=aten.linear.default](args = (%x, %u), kwargs = {}) in "b"
    // CHECK: %heads : f32[2,3,3,2]{strides=[24,8,2,1], alias=%packed_linear}
    %heads : f32[2,3,3,2]{alias=%a} = call_function[target=aten.view.default](args = (%a, [2, 3, 3, 2]), kwargs = {})
    // CHECK: %t : f32[2,3,3,2]{strides=[24,2,8,1], alias=%packed_linear}
    %t : f32[2,3,3,2]{strides=[18,2,6,1], alias=%a} = call_function[target=aten.transpose.int](args = (%heads, 1, 2), kwargs = {})
    // CHECK: %rest : f32[2,2,3,2]{strides=[24,2,8,1], offset=2, alias=%packed_linear}
    %rest : f32[2,2,3,2]{strides=[18,2,6,1], offset=2, alias=%a} = call_function[target=aten.slice.Tensor](args = (%t, 1, 1, 3), kwargs = {})
    // CHECK: %row : f32[3,2]{strides=[8,1], offset=30, alias=%packed_linear}
    %row : f32[3,2]{strides=[2,1], offset=6, alias=%b} = call_function[target=aten.select.int](args = (%b, 0, 1), kwargs = {})
    // CHECK: aten._reshape_alias.default](args = (%alias, [2, 3, 2], [24, 8, 1])
    %alias : f32[2,3,2]{strides=[18,6,1], alias=%a} = call_function[target=aten.select.int](args = (%t, 1, 0), kwargs = {})
    %same : f32[2,3,2]{strides=[18,6,1], alias=%a} = call_function[target=aten._reshape_alias.default](args = (%alias, [2, 3, 2], [18, 6, 1]), kwargs = {})
    // CHECK: aten.as_strided.default](args = (%slice, [3], [8], 1), kwargs = {})
    %column : f32[3]{strides=[6], offset=1, alias=%a} = call_function[target=aten.as_strided.default](args = (%a, [3], [6], 1), kwargs = {})
    %c : f32[3] = call_function[target=aten.abs.default](args = (%column,), kwargs = {})
    %s : f32[2,3,2] = call_function[target=aten.exp.default](args = (%same,), kwargs = {})
    %y : f32[2,3,3,2] = call_function[target=aten.neg.default](args = (%t,), kwargs = {})
    %z : f32[3,2] = call_function[target=aten.exp.default](args = (%row,), kwargs = {})
    %q : f32[2,2,3,2] = call_function[target=aten.relu.default](args = (%rest,), kwargs = {})
    return (%y, %z, %q, %c, %s)
  })"));
}

TEST(PackLinears, WithBiases) {
  EXPECT_TRUE(transforms({"pack_linears"}, R"(graph g {
    %x : f32[2,4] = placeholder[target=x]
    %w : f32[3,4] = get_attr[target=w, kind=parameter]
    %b : f32[3] = get_attr[target=b, kind=parameter]
    // CHECK: %packed_linear : f32[2,6] = call_function[target=aten.linear.default](args = (%x, %folded_0, %folded_1), kwargs = {})
    %y : f32[2,3] = call_function[target=aten.linear.default](args = (%x, %w, %b), kwargs = {})
    %u : f32[3,4] = get_attr[target=u, kind=parameter]
    %c : f32[3] = get_attr[target=c, kind=parameter]
    %z : f32[2,3] = call_function[target=aten.linear.default](args = (%x, %u, %c), kwargs = {})
    %s : f32[2,3] = call_function[target=aten.add.Tensor](args = (%y, %z), kwargs = {})
    return (%s,)
  })"));
}

TEST(PackLinears, NotWhatIsSharedReturnedOrJoined) {
  constexpr const char* kHead = R"(graph g {
    %x : f32[2,4] = placeholder[target=x]
    %w : f32[3,4] = get_attr[target=w, kind=parameter]
    %u : f32[3,4] = get_attr[target=u, kind=parameter]
    %y : f32[2,3] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {})
    %z : f32[2,3] = call_function[target=aten.linear.default](args = (%x, %u), kwargs = {})
)";
  for (
      const char* rest : {
          // outputs own their memory
          "return (%y, %z)\n}",
          // a view that joins rows
          "%f : f32[6]{alias=%y} = call_function[target=aten.view.default](args = (%y, [6]), "
          "kwargs "
          "= {})\n%n : f32[6] = call_function[target=aten.neg.default](args = (%f,), kwargs = "
          "{})\n%m : f32[2,3] = call_function[target=aten.neg.default](args = (%z,), kwargs = {})\n"
          "return (%n, %m)\n}",
          // a weight with another use
          "%n : f32[3,4] = call_function[target=aten.neg.default](args = (%w,), kwargs = {})\n%s : "
          "f32[2,3] = call_function[target=aten.add.Tensor](args = (%y, %z), kwargs = {})\nreturn "
          "(%n, %s)\n}",
      }) {
    EXPECT_TRUE(unchanged({"pack_linears"}, std::string(kHead) + rest));
  }
}

TEST(StaticFills, DependOnNoInput) {
  EXPECT_TRUE(transforms({"static_fills"}, R"(graph g {
    %x : i64[2,3] = placeholder[target=x]
    // CHECK: %zeros_like : i64[2,3] = call_function[target=aten.zeros.default](args = ([2, 3],), kwargs = {dtype: torch.int64, device: device(type='cpu')})
    %zeros_like : i64[2,3] = call_function[target=aten.zeros_like.default](args = (%x,), kwargs = {pin_memory: False})
    // CHECK: aten.full.default](args = ([2, 3], 7), kwargs = {dtype: torch.float32
    %full_like : f32[2,3] = call_function[target=aten.full_like.default](args = (%x, 7), kwargs = {dtype: torch.float32})
    %r : i64[2,3] = call_function[target=aten.neg.default](args = (%zeros_like,), kwargs = {})
    %s : f32[2,3] = call_function[target=aten.neg.default](args = (%full_like,), kwargs = {})
    return (%r, %s)
  })"));
}

}  // namespace
}  // namespace monograph::passes::testing
