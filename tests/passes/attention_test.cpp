#include <string>

#include "tests/passes/filecheck.h"

namespace monograph::passes::testing {
namespace {

const std::vector<std::string> kPass{"attention", "dead_code"};
constexpr double kTolerance = 1e-12;

/// softmax(q k^T * 0.5 + MASK) v of two heads, as LibTorch decomposes matmul.
std::string attention(const std::string& between, const std::string& last, const char* check) {
  return std::string(R"(graph g {
    %q : f32[1,2,3,4] = placeholder[target=q]
    %k : f32[1,2,5,4] = placeholder[target=k]
    %v : f32[1,2,5,4] = placeholder[target=v]
    %m : f32[1,1,1,5] = placeholder[target=m]
    %t : f32[1,2,4,5]{strides=[40,20,1,4], alias=%k} = call_function[target=aten.transpose.int](args = (%k, -2, -1), kwargs = {})
    %q3 : f32[2,3,4]{alias=%q} = call_function[target=aten.view.default](args = (%q, [2, 3, 4]), kwargs = {})
    %t3 : f32[2,4,5]{strides=[20,1,4], alias=%k} = call_function[target=aten._reshape_alias.default](args = (%t, [2, 4, 5], [20, 1, 4]), kwargs = {})
    %v3 : f32[2,5,4]{alias=%v} = call_function[target=aten.view.default](args = (%v, [2, 5, 4]), kwargs = {})
    %qk : f32[2,3,5] = call_function[target=aten.bmm.default](args = (%q3, %t3), kwargs = {})
    %s0 : f32[1,2,3,5]{alias=%qk} = call_function[target=aten._unsafe_view.default](args = (%qk, [1, 2, 3, 5]), kwargs = {})
)") + between +
         "    %p : f32[1,2,3,5] = call_function[target=aten._softmax.default](args = (%" + last +
         R"(, -1, False), kwargs = {})
    %p3 : f32[2,3,5]{alias=%p} = call_function[target=aten.view.default](args = (%p, [2, 3, 5]), kwargs = {})
    // CHECK-NOT: bmm
    // CHECK: )" +
         check + R"(
    %o : f32[2,3,4] = call_function[target=aten.bmm.default](args = (%p3, %v3), kwargs = {}) in "a"
    %o4 : f32[1,2,3,4]{alias=%o} = call_function[target=aten._unsafe_view.default](args = (%o, [1, 2, 3, 4]), kwargs = {})
    %r : f32[1,2,3,4] = call_function[target=aten.neg.default](args = (%o4,), kwargs = {})
    return (%r,)
  })";
}

constexpr const char* kScaled =
    "    %s : f32[1,2,3,5] = call_function[target=aten.mul.Tensor](args = (%s0, 0.5), kwargs = "
    "{})\n";

TEST(Attention, Plain) {
  EXPECT_TRUE(transforms_within(
      kTolerance, kPass,
      attention("", "s0",
                "%scaled_dot_product_attention : f32[1,2,3,4] = call_function[target="
                "aten.scaled_dot_product_attention.default](args = (%view, %view_1, %view_2, None, "
                "0.0, False), kwargs = {scale: 1.0}) in \"a\"")));
}

TEST(Attention, ScaleAndAddedMask) {
  const std::string added = std::string(kScaled) +
                            "    %sm : f32[1,2,3,5] = call_function[target=aten.add.Tensor](args = "
                            "(%s, %m), kwargs = {})\n";
  EXPECT_TRUE(transforms_within(kTolerance, kPass,
                                attention(added, "sm", "%m, 0.0, False), kwargs = {scale: 0.5})")));
  const std::string divided =
      "    %d : f32[1,2,3,5] = call_function[target=aten.div.Tensor](args = (%s0, 4.0), kwargs = "
      "{})\n    %sm : f32[1,2,3,5] = call_function[target=aten.add.Tensor](args = (%m, %d), kwargs "
      "= {})\n";
  EXPECT_TRUE(transforms_within(
      kTolerance, kPass, attention(divided, "sm", "%m, 0.0, False), kwargs = {scale: 0.25})")));
}

// True from the diagonal on downwards, so that no row is masked throughout.
constexpr const char* kFilled =
    "    %ones : bool[3,5] = call_function[target=aten.ones.default](args = ([3, 5],), kwargs = "
    "{dtype: torch.bool})\n    %b : bool[3,5] = call_function[target=aten.tril.default](args = "
    "(%ones,), kwargs = {})\n    %n : bool[3,5] = call_function[target=aten.bitwise_not.default]"
    "(args = (%b,), kwargs = {})\n    %sm : f32[1,2,3,5] = "
    "call_function[target=aten.masked_fill.Scalar](args = (%s, %n, VALUE), kwargs = {})\n";

std::string filled(const char* value) {
  std::string text = std::string(kScaled) + kFilled;
  return text.replace(text.find("VALUE"), 5, value);
}

TEST(Attention, FilledMaskOfWhatCounts) {
  EXPECT_TRUE(transforms_within(
      kTolerance, kPass,
      attention(filled("-inf"), "sm", "%b, 0.0, False), kwargs = {scale: 0.5})")));
}

TEST(Attention, FilledMaskOfPadding) {
  EXPECT_TRUE(transforms_within(
      1e-6, kPass,
      attention(filled("-100000.0"), "sm", "%masked_fill, 0.0, False), kwargs = {scale: 0.5})")));
}

TEST(Attention, LowerTriangleIsCausal) {
  EXPECT_TRUE(transforms_within(kTolerance, kPass, R"(graph g {
    %q : f32[1,2,3,4] = placeholder[target=q]
    %k : f32[1,2,3,4] = placeholder[target=k]
    %v : f32[1,2,3,4] = placeholder[target=v]
    %ones : bool[3,3] = call_function[target=aten.ones.default](args = ([3, 3],), kwargs = {dtype: torch.bool})
    %tril : bool[3,3] = call_function[target=aten.tril.default](args = (%ones,), kwargs = {})
    %not : bool[3,3] = call_function[target=aten.bitwise_not.default](args = (%tril,), kwargs = {})
    %t : f32[1,2,4,3]{strides=[24,12,1,4], alias=%k} = call_function[target=aten.transpose.int](args = (%k, -2, -1), kwargs = {})
    %qk : f32[1,2,3,3] = call_function[target=aten.matmul.default](args = (%q, %t), kwargs = {})
    %s : f32[1,2,3,3] = call_function[target=aten.masked_fill.Scalar](args = (%qk, %not, -inf), kwargs = {})
    %p : f32[1,2,3,3] = call_function[target=aten._softmax.default](args = (%s, -1, False), kwargs = {})
    // CHECK-NOT: tril
    // CHECK: None, 0.0, True), kwargs = {scale: 1.0})
    %o : f32[1,2,3,4] = call_function[target=aten.matmul.default](args = (%p, %v), kwargs = {})
    return (%o,)
  })"));
}

TEST(Attention, HeadsInGroups) {
  EXPECT_TRUE(transforms_within(kTolerance, kPass, R"(graph g {
    %q : f32[1,4,3,2] = placeholder[target=q]
    %k : f32[1,2,5,2] = placeholder[target=k]
    %v : f32[1,2,5,2] = placeholder[target=v]
    %ku : f32[1,2,1,5,2]{alias=%k} = call_function[target=aten.unsqueeze.default](args = (%k, 2), kwargs = {})
    %ke : f32[1,2,2,5,2]{strides=[20,10,0,2,1], alias=%k} = call_function[target=aten.expand.default](args = (%ku, [1, 2, 2, 5, 2]), kwargs = {})
    %kc : f32[1,2,2,5,2] = call_function[target=aten.clone.default](args = (%ke,), kwargs = {memory_format: torch.contiguous_format})
    %k4 : f32[1,4,5,2]{alias=%kc} = call_function[target=aten._unsafe_view.default](args = (%kc, [1, 4, 5, 2]), kwargs = {})
    %kt : f32[1,4,2,5]{strides=[40,10,1,2], alias=%kc} = call_function[target=aten.transpose.int](args = (%k4, 2, 3), kwargs = {})
    %vu : f32[1,2,1,5,2]{alias=%v} = call_function[target=aten.unsqueeze.default](args = (%v, 2), kwargs = {})
    %ve : f32[1,2,2,5,2]{strides=[20,10,0,2,1], alias=%v} = call_function[target=aten.expand.default](args = (%vu, [1, 2, 2, 5, 2]), kwargs = {})
    %vc : f32[1,2,2,5,2] = call_function[target=aten.clone.default](args = (%ve,), kwargs = {memory_format: torch.contiguous_format})
    %v4 : f32[1,4,5,2]{alias=%vc} = call_function[target=aten._unsafe_view.default](args = (%vc, [1, 4, 5, 2]), kwargs = {})
    %qk : f32[1,4,3,5] = call_function[target=aten.matmul.default](args = (%q, %kt), kwargs = {})
    %p : f32[1,4,3,5] = call_function[target=aten._softmax.default](args = (%qk, -1, False), kwargs = {})
    // CHECK-NOT: clone
    // CHECK: %select : f32[1,2,5,2]{alias=%k}
    // CHECK: %select_1 : f32[1,2,5,2]{alias=%v}
    // CHECK: (%q, %select, %select_1, None, 0.0, False), kwargs = {scale: 1.0, enable_gqa: True})
    %o : f32[1,4,3,2] = call_function[target=aten.matmul.default](args = (%p, %v4), kwargs = {})
    return (%o,)
  })"));
}

TEST(Attention, WholeFromTheStartTakesHeadsUnrepeated) {
  EXPECT_TRUE(transforms_within(kTolerance, kPass, R"(graph g {
    %q : f32[1,4,3,2] = placeholder[target=q]
    %k : f32[1,2,5,2] = placeholder[target=k]
    %v : f32[1,2,5,2] = placeholder[target=v]
    %ku : f32[1,2,1,5,2]{alias=%k} = call_function[target=aten.unsqueeze.default](args = (%k, 2), kwargs = {})
    %ke : f32[1,2,2,5,2]{strides=[20,10,0,2,1], alias=%k} = call_function[target=aten.expand.default](args = (%ku, [1, 2, 2, 5, 2]), kwargs = {})
    %kc : f32[1,2,2,5,2] = call_function[target=aten.clone.default](args = (%ke,), kwargs = {memory_format: torch.contiguous_format})
    %k4 : f32[1,4,5,2]{alias=%kc} = call_function[target=aten._unsafe_view.default](args = (%kc, [1, 4, 5, 2]), kwargs = {})
    %vu : f32[1,2,1,5,2]{alias=%v} = call_function[target=aten.unsqueeze.default](args = (%v, 2), kwargs = {})
    %ve : f32[1,2,2,5,2]{strides=[20,10,0,2,1], alias=%v} = call_function[target=aten.expand.default](args = (%vu, [1, 2, 2, 5, 2]), kwargs = {})
    %vc : f32[1,2,2,5,2] = call_function[target=aten.clone.default](args = (%ve,), kwargs = {memory_format: torch.contiguous_format})
    %v4 : f32[1,4,5,2]{alias=%vc} = call_function[target=aten._unsafe_view.default](args = (%vc, [1, 4, 5, 2]), kwargs = {})
    // CHECK-NOT: clone
    // CHECK: (%q, %select, %select_1), kwargs = {scale: 0.125, enable_gqa: True})
    %o : f32[1,4,3,2] = call_function[target=aten.scaled_dot_product_attention.default](args = (%q, %k4, %v4), kwargs = {scale: 0.125})
    return (%o,)
  })"));
}

TEST(Attention, WholeAttentionWhoseValuesAloneAreRepeatedStays) {
  EXPECT_TRUE(unchanged({"attention", "dead_code"}, R"(graph g {
    %q : f32[1,4,3,2] = placeholder[target=q]
    %k : f32[1,4,5,2] = placeholder[target=k]
    %v : f32[1,2,5,2] = placeholder[target=v]
    %vu : f32[1,2,1,5,2]{alias=%v} = call_function[target=aten.unsqueeze.default](args = (%v, 2), kwargs = {})
    %ve : f32[1,2,2,5,2]{strides=[20,10,0,2,1], alias=%v} = call_function[target=aten.expand.default](args = (%vu, [1, 2, 2, 5, 2]), kwargs = {})
    %vc : f32[1,2,2,5,2] = call_function[target=aten.clone.default](args = (%ve,), kwargs = {memory_format: torch.contiguous_format})
    %v4 : f32[1,4,5,2]{alias=%vc} = call_function[target=aten._unsafe_view.default](args = (%vc, [1, 4, 5, 2]), kwargs = {})
    %o : f32[1,4,3,2] = call_function[target=aten.scaled_dot_product_attention.default](args = (%q, %k, %v4), kwargs = {})
    return (%o,)
  })"));
}

TEST(Attention, NotWithoutAllThatBelongsToIt) {
  // The probabilities are an output; the mask is added before the scale; the softmax is over rows.
  const std::vector<std::string> pass{"attention"};
  constexpr const char* kHead = R"(graph g {
    %q : f32[1,2,3,4] = placeholder[target=q]
    %k : f32[1,2,4,5] = placeholder[target=k]
    %v : f32[1,2,5,4] = placeholder[target=v]
    %m : f32[1,1,1,5] = placeholder[target=m]
    %qk : f32[1,2,3,5] = call_function[target=aten.matmul.default](args = (%q, %k), kwargs = {})
)";
  EXPECT_TRUE(unchanged(pass, std::string(kHead) + R"(
    %p : f32[1,2,3,5] = call_function[target=aten._softmax.default](args = (%qk, -1, False), kwargs = {})
    %o : f32[1,2,3,4] = call_function[target=aten.matmul.default](args = (%p, %v), kwargs = {})
    return (%o, %p)
  })"));
  EXPECT_TRUE(unchanged(pass, std::string(kHead) + R"(
    %a : f32[1,2,3,5] = call_function[target=aten.add.Tensor](args = (%qk, %m), kwargs = {})
    %s : f32[1,2,3,5] = call_function[target=aten.mul.Tensor](args = (%a, 0.5), kwargs = {})
    %p : f32[1,2,3,5] = call_function[target=aten._softmax.default](args = (%s, -1, False), kwargs = {})
    %o : f32[1,2,3,4] = call_function[target=aten.matmul.default](args = (%p, %v), kwargs = {})
    return (%o,)
  })"));
  EXPECT_TRUE(unchanged(pass, std::string(kHead) + R"(
    %p : f32[1,2,3,5] = call_function[target=aten._softmax.default](args = (%qk, 2, False), kwargs = {})
    %o : f32[1,2,3,4] = call_function[target=aten.matmul.default](args = (%p, %v), kwargs = {})
    return (%o,)
  })"));
}

}  // namespace
}  // namespace monograph::passes::testing
