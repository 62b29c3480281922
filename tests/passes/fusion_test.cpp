// fuse_attention, fuse_heads, fuse_linear, fuse_reductions, fuse_pointwise, and what fusions look
// like.
#include <string>

#include "tests/passes/filecheck.h"

namespace monograph::passes::testing {
namespace {

const std::vector<std::string> kLinear{"fuse_linear"};
const std::vector<std::string> kHeads{"fuse_heads"};
const std::vector<std::string> kCached{"fuse_cached_attention"};
const std::vector<std::string> kReductions{"fuse_reductions"};
const std::vector<std::string> kPointwise{"fuse_pointwise"};

TEST(FuseLinear, EpilogueAndForm) {
  EXPECT_TRUE(transforms(kLinear, R"(graph g {
    %x : f32[2,4] = placeholder[target=x]
    %r : f32[2,3] = placeholder[target=r]
    %w : f32[3,4] = get_attr[target=w, kind=parameter]
    %b : f32[3] = get_attr[target=b, kind=parameter]
    // CHECK: %linear_gelu_add : f32[2,3] = call_function[target=fusion.linear_gelu_add](args = (%x, %w, %b, %r), kwargs = {}) in "layer"
    // CHECK-NEXT: return (%linear_gelu_add,)
    // CHECK: subgraph linear_gelu_add {
    // CHECK-NEXT: %in_0 : f32[2,4] = placeholder[target=in_0]
    // CHECK-NEXT: %in_1 : f32[3,4] = placeholder[target=in_1]
    // CHECK-NEXT: %in_2 : f32[3] = placeholder[target=in_2]
    // CHECK-NEXT: %in_3 : f32[2,3] = placeholder[target=in_3]
    // CHECK-NEXT: %linear : f32[2,3] = call_function[target=aten.linear.default](args = (%in_0, %in_1, %in_2), kwargs = {})
    // CHECK-NEXT: %gelu : f32[2,3] = call_function[target=aten.gelu.default](args = (%linear,), kwargs = {approximate: "tanh"})
    // CHECK-NEXT: %add : f32[2,3] = call_function[target=aten.add.Tensor](args = (%gelu, %in_3), kwargs = {})
    // CHECK-NEXT: return (%add,)
    %y : f32[2,3] = call_function[target=aten.linear.default](args = (%x, %w, %b), kwargs = {})
    %g : f32[2,3] = call_function[target=aten.gelu.default](args = (%y,), kwargs = {approximate: "tanh"})
    %a : f32[2,3] = call_function[target=aten.add.Tensor](args = (%g, %r), kwargs = {}) in "layer"
    return (%a,)
  })"));
}

TEST(FuseLinear, EqualLayersShareASubgraph) {
  EXPECT_TRUE(transforms(kLinear, R"(graph g {
    %x : f32[2,4] = placeholder[target=x]
    %w : f32[4,4] = get_attr[target=w, kind=parameter]
    %u : f32[4,4] = get_attr[target=u, kind=parameter]
    // CHECK: %linear_relu : f32[2,4] = call_function[target=fusion.linear_relu](args = (%x, %w)
    %y : f32[2,4] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {})
    %r : f32[2,4] = call_function[target=aten.relu.default](args = (%y,), kwargs = {})
    // CHECK: %linear_relu_1 : f32[2,4] = call_function[target=fusion.linear_relu](args = (%linear_relu, %u)
    %z : f32[2,4] = call_function[target=aten.linear.default](args = (%r, %u), kwargs = {})
    %s : f32[2,4] = call_function[target=aten.relu.default](args = (%z,), kwargs = {})
    // CHECK-NOT: subgraph linear_relu_1
    return (%s,)
  })"));
}

TEST(FuseLinear, GateTimesUpOfOneProduct) {
  EXPECT_TRUE(transforms(kLinear, R"(graph g {
    %x : f32[2,4] = placeholder[target=x]
    %w : f32[6,4] = get_attr[target=w, kind=parameter]
    // CHECK: call_function[target=fusion.linear_silu_mul](args = (%x, %w), kwargs = {})
    // CHECK-NOT: %up
    %y : f32[2,6] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {})
    %up : f32[2,3]{strides=[6,1], alias=%y} = call_function[target=aten.slice.Tensor](args = (%y, -1, 0, 3), kwargs = {})
    %gate : f32[2,3]{strides=[6,1], offset=3, alias=%y} = call_function[target=aten.slice.Tensor](args = (%y, -1, 3, 6), kwargs = {})
    // CHECK: subgraph
    // CHECK: %slice : f32[2,3]{strides=[6,1], offset=3, alias=%linear}
    %s : f32[2,3] = call_function[target=aten.silu.default](args = (%gate,), kwargs = {})
    // CHECK: %slice_1 : f32[2,3]{strides=[6,1], alias=%linear}
    %m : f32[2,3] = call_function[target=aten.mul.Tensor](args = (%s, %up), kwargs = {})
    return (%m,)
  })"));
}

TEST(FuseLinear, NormBeforeFewRows) {
  EXPECT_TRUE(transforms(kLinear, R"(graph g {
    %x : f32[8,4] = placeholder[target=x]
    %g : f32[4] = get_attr[target=g, kind=parameter]
    %w : f32[3,4] = get_attr[target=w, kind=parameter]
    // CHECK: %rms_norm_linear : f32[8,3] = call_function[target=fusion.rms_norm_linear](args = (%x, %g, %w), kwargs = {})
    %n : f32[8,4] = call_function[target=aten.rms_norm.default](args = (%x, [4], %g, 1e-05), kwargs = {})
    %y : f32[8,3] = call_function[target=aten.linear.default](args = (%n, %w), kwargs = {})
    return (%y,)
  })"));
  EXPECT_TRUE(unchanged(kLinear, R"(graph g {
    %x : f32[9,4] = placeholder[target=x]
    %g : f32[4] = get_attr[target=g, kind=parameter]
    %w : f32[3,4] = get_attr[target=w, kind=parameter]
    %n : f32[9,4] = call_function[target=aten.rms_norm.default](args = (%x, [4], %g, 1e-05), kwargs = {})
    %y : f32[9,3] = call_function[target=aten.linear.default](args = (%n, %w), kwargs = {})
    return (%y,)
  })"));
}

TEST(FuseLinear, NormOfSeveralLayersStaysByItself) {
  EXPECT_TRUE(unchanged(kLinear, R"(graph g {
    %x : f32[1,4] = placeholder[target=x]
    %g : f32[4] = get_attr[target=g, kind=parameter]
    %w : f32[3,4] = get_attr[target=w, kind=parameter]
    %u : f32[3,4] = get_attr[target=u, kind=parameter]
    %n : f32[1,4] = call_function[target=aten.rms_norm.default](args = (%x, [4], %g, 1e-05), kwargs = {})
    %y : f32[1,3] = call_function[target=aten.linear.default](args = (%n, %w), kwargs = {})
    %z : f32[1,3] = call_function[target=aten.linear.default](args = (%n, %u), kwargs = {})
    return (%y, %z)
  })"));
}

TEST(FuseLinear, NotIntoSeveralResultsOtherOrdersOrWrittenOnes) {
  constexpr const char* kHead = R"(graph g {
    %x : f32[3,4] = placeholder[target=x]
    %w : f32[3,4] = get_attr[target=w, kind=parameter]
    %y : f32[3,3] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {})
)";
  for (const char* rest : {
           "%r : f32[3,3] = call_function[target=aten.relu.default](args = (%y,), kwargs = {})\n"
           "return (%r, %y)\n}",
           "%t : f32[3,3]{strides=[1,3], alias=%y} = call_function[target=aten.t.default](args = "
           "(%y,), kwargs = {})\n%r : f32[3,3] = call_function[target=aten.clone.default](args = "
           "(%t,), kwargs = {memory_format: torch.contiguous_format})\nreturn (%r,)\n}",
           "%e : f32[3,3]{alias=%y} = call_function[target=aten.erfinv_.default, "
           "writes=(%y,)](args "
           "= (%y,), kwargs = {})\n%r : f32[3,3] = call_function[target=aten.relu.default](args = "
           "(%e,), kwargs = {})\nreturn (%r,)\n}",
       }) {
    EXPECT_TRUE(unchanged(kLinear, std::string(kHead) + rest));
  }
}

TEST(FuseLinear, NotAcrossAWayAround) {
  // The sum needs the product of products, which needs the first one.
  EXPECT_TRUE(unchanged(kLinear, R"(graph g {
    %x : f32[4,4] = placeholder[target=x]
    %w : f32[4,4] = get_attr[target=w, kind=parameter]
    %y : f32[4,4] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {})
    %z : f32[4,4] = call_function[target=aten.mm.default](args = (%y, %x), kwargs = {})
    %a : f32[4,4] = call_function[target=aten.add.Tensor](args = (%y, %z), kwargs = {})
    return (%a,)
  })"));
}

TEST(FuseAttention, WritesWhereTheProjectionReads) {
  EXPECT_TRUE(transforms({"fuse_attention"}, R"(graph g {
    %q : f32[1,2,3,4] = placeholder[target=q]
    // CHECK: %attention_clone : f32[1,3,2,4] = call_function[target=fusion.attention_clone](args = (%q,), kwargs = {})
    // CHECK: %v : f32[1,3,8]{alias=%attention_clone}
    %a : f32[1,2,3,4] = call_function[target=aten.scaled_dot_product_attention.default](args = (%q, %q, %q), kwargs = {})
    %t : f32[1,3,2,4]{strides=[24,4,12,1], alias=%a} = call_function[target=aten.transpose.int](args = (%a, 1, 2), kwargs = {})
    %c : f32[1,3,2,4] = call_function[target=aten.clone.default](args = (%t,), kwargs = {memory_format: torch.contiguous_format})
    %v : f32[1,3,8]{alias=%c} = call_function[target=aten.view.default](args = (%c, [1, 3, 8]), kwargs = {})
    %r : f32[1,3,8] = call_function[target=aten.relu.default](args = (%v,), kwargs = {})
    return (%r,)
  })"));
}

TEST(FuseReductions, PrologueAndEpilogue) {
  EXPECT_TRUE(transforms(kReductions, R"(graph g {
    %x : f32[2,4] = placeholder[target=x]
    %y : f32[2,4] = placeholder[target=y]
    %g : f32[4] = get_attr[target=g, kind=parameter]
    // The sum is stored as well, since others want it.
    // CHECK: %add_rms_norm_relu : (f32[2,4], f32[2,4]) = call_function[target=fusion.add_rms_norm_relu](args = (%x, %y, %g), kwargs = {})
    %a : f32[2,4] = call_function[target=aten.add.Tensor](args = (%x, %y), kwargs = {})
    %n : f32[2,4] = call_function[target=aten.rms_norm.default](args = (%a, [4], %g, 1e-05), kwargs = {})
    %r : f32[2,4] = call_function[target=aten.relu.default](args = (%n,), kwargs = {})
    %m : f32[2,2] = call_function[target=aten.opaque_product.default](args = (%a,), kwargs = {})
    return (%r, %m)
  })"));
}

TEST(FuseReductions, NotOfAScalar) {
  for (const char* dim : {"0", "-1"}) {
    EXPECT_TRUE(unchanged(kReductions, std::string(R"(graph g {
    %x : f32[] = placeholder[target=x]
    %r : f32[] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    %s : f32[] = call_function[target=aten._log_softmax.default](args = (%r, )") +
                                           dim + R"(, False), kwargs = {})
    return (%s,)
  })"));
  }
}

TEST(FuseReductions, NotOfNothing) {
  EXPECT_TRUE(unchanged(kReductions, R"(graph g {
    %x : f32[2,0] = placeholder[target=x]
    %r : f32[2,0] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    %s : f32[2] = call_function[target=aten.sum.dim_IntList](args = (%r, [1]), kwargs = {})
    return (%s,)
  })"));
}

TEST(FuseReductions, NotWithReadersOfSeveralResults) {
  EXPECT_TRUE(unchanged(kReductions, R"(graph g {
    %x : f32[3,4] = placeholder[target=x]
    %t : i64[3] = placeholder[target=t]
    %s : f32[3,4] = call_function[target=aten._log_softmax.default](args = (%x, 1, False), kwargs = {})
    %l : (f32[], f32[]) = call_function[target=aten.nll_loss_forward.default](args = (%s, %t, None, 1, -100), kwargs = {})
    %a : f32[]{alias=%l#0} = call_function[target=operator.getitem](args = (%l, 0), kwargs = {})
    return (%a,)
  })"));
}

TEST(FuseReductions, OfTheSameRowsTogether) {
  EXPECT_TRUE(transforms(kReductions, R"(graph g {
    %x : f32[2,4] = placeholder[target=x]
    // CHECK: call_function[target=fusion.mean_sub_pow_mean_mul](args = (%x,), kwargs = {})
    // CHECK-NEXT: return
    %m : f32[2,1] = call_function[target=aten.mean.dim](args = (%x, [-1], True), kwargs = {})
    %c : f32[2,4] = call_function[target=aten.sub.Tensor](args = (%x, %m), kwargs = {})
    %p : f32[2,4] = call_function[target=aten.pow.Tensor_Scalar](args = (%c, 2), kwargs = {})
    %v : f32[2,1] = call_function[target=aten.mean.dim](args = (%p, [-1], True), kwargs = {})
    %n : f32[2,4] = call_function[target=aten.mul.Tensor](args = (%c, %v), kwargs = {})
    return (%n,)
  })"));
}

TEST(FusePointwise, ChainsViewsAndBroadcasts) {
  EXPECT_TRUE(transforms(kPointwise, R"(graph g {
    %x : f32[2,3] = placeholder[target=x]
    %b : f32[3] = placeholder[target=b]
    // CHECK: %cos_mul_exp : f32[3,2] = call_function[target=fusion.cos_mul_exp](args = (%b, %x), kwargs = {})
    // CHECK-NEXT: return (%cos_mul_exp,)
    %c : f32[3] = call_function[target=aten.cos.default](args = (%b,), kwargs = {})
    %m : f32[2,3] = call_function[target=aten.mul.Tensor](args = (%x, %c), kwargs = {})
    %t : f32[3,2]{strides=[1,3], alias=%m} = call_function[target=aten.t.default](args = (%m,), kwargs = {})
    %e : f32[3,2] = call_function[target=aten.exp.default](args = (%t,), kwargs = {})
    return (%e,)
  })"));
}

TEST(FusePointwise, RotaryEmbeddingAndCache) {
  EXPECT_TRUE(transforms(kPointwise, R"(graph g {
    %x : f32[1,2,1,4] = placeholder[target=x]
    %cos : f32[1,1,1,4] = placeholder[target=cos]
    %position : i64[1] = placeholder[target=position]
    %cache : f32[1,2,5,4] = get_attr[target=cache, kind=state]
    // CHECK: %neg_cat_mul_add_index_copy : f32[1,2,1,4] = call_function[target=fusion.neg_cat_mul_add_index_copy, writes=(%cache,)](args = (
    // CHECK-NOT: index_copy_
    // CHECK: aten.opaque_read.default](args = (%cache, %neg_cat_mul_add_index_copy), kwargs = {})
    %low : f32[1,2,1,2]{strides=[8,4,4,1], alias=%x} = call_function[target=aten.slice.Tensor](args = (%x, -1, 0, 2), kwargs = {})
    %high : f32[1,2,1,2]{strides=[8,4,4,1], offset=2, alias=%x} = call_function[target=aten.slice.Tensor](args = (%x, -1, 2), kwargs = {})
    %n : f32[1,2,1,2] = call_function[target=aten.neg.default](args = (%high,), kwargs = {})
    %rotated : f32[1,2,1,4] = call_function[target=aten.cat.default](args = ([%n, %low], -1), kwargs = {})
    %m : f32[1,2,1,4] = call_function[target=aten.mul.Tensor](args = (%rotated, %cos), kwargs = {})
    %a : f32[1,2,1,4] = call_function[target=aten.add.Tensor](args = (%x, %m), kwargs = {})
    // CHECK: subgraph
    // CHECK: %index_copy_ : f32[1,2,5,4]{alias=%in_
    // CHECK: return (%add,)
    %w : f32[1,2,5,4]{alias=%cache} = call_function[target=aten.index_copy_.default, writes=(%cache,)](args = (%cache, 2, %position, %a), kwargs = {})
    %y : f32[1] = call_function[target=aten.opaque_read.default](args = (%w, %a), kwargs = {})
    return (%y,)
  })"));
}

TEST(FusePointwise, SiblingsOfOneInput) {
  EXPECT_TRUE(transforms(kPointwise, R"(graph g {
    %x : f32[2,3] = placeholder[target=x]
    // CHECK: (f32[2,3], f32[3]) = call_function[target=fusion.exp_neg](args = (%x, %row), kwargs = {})
    %e : f32[2,3] = call_function[target=aten.exp.default](args = (%x,), kwargs = {})
    %row : f32[3]{alias=%x} = call_function[target=aten.select.int](args = (%x, 0, 0), kwargs = {})
    %n : f32[3] = call_function[target=aten.neg.default](args = (%row,), kwargs = {})
    return (%e, %n)
  })"));
}

TEST(FusePointwise, NotAcrossAWayAroundOrAWrite) {
  EXPECT_TRUE(unchanged(kPointwise, R"(graph g {
    %x : f32[2,2] = placeholder[target=x]
    %y : f32[2,2] = placeholder[target=y]
    %e : f32[2,2] = call_function[target=aten.exp.default](args = (%x,), kwargs = {})
    %m : f32[2,2] = call_function[target=aten.mm.default](args = (%e, %y), kwargs = {})
    %a : f32[2,2] = call_function[target=aten.add.Tensor](args = (%e, %m), kwargs = {})
    return (%a,)
  })"));
  // The state is read before and after its rows are written.
  EXPECT_TRUE(unchanged(kPointwise, R"(graph g {
    %r : f32[1,2] = placeholder[target=r]
    %i : i64[1] = placeholder[target=i]
    %s : f32[2,2] = get_attr[target=s, kind=state]
    %e : f32[2,2] = call_function[target=aten.exp.default](args = (%s,), kwargs = {})
    %w : f32[2,2]{alias=%s} = call_function[target=aten.index_copy_.default, writes=(%s,)](args = (%s, 0, %i, %r), kwargs = {})
    %f : f32[2,2] = call_function[target=aten.opaque_product.default](args = (%w, %e), kwargs = {})
    return (%f,)
  })"));
}

TEST(Fusion, NotesSayWhatAndWhy) {
  EXPECT_EQ(notes_of("fuse_linear", R"(graph g {
    %x : f32[2,4] = placeholder[target=x]
    %w : f32[3,4] = get_attr[target=w, kind=parameter]
    %y : f32[2,3] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {})
    %r : f32[2,3] = call_function[target=aten.relu.default](args = (%y,), kwargs = {})
    return (%r,)
  })"),
            "%linear_relu = %y + %r: 1.50 -> 0.75 us, 2 -> 1 launches");
}

/// Queries and keys of one position, normalised and turned; keys and values go to caches.
std::string heads(const std::string& checks, const std::string& more) {
  const auto turned = [](const std::string& n, const std::string& sizes, const std::string& half) {
    const auto call = [&](const std::string& name, const std::string& type, const std::string& op,
                          const std::string& args) {
      return "    %" + name + n + " : f32[" + type + " = call_function[target=aten." + op +
             "](args = (" + args + "), kwargs = {})\n";
    };
    return call("n", sizes + "]", "rms_norm.default", "%" + n + ", [4], %w, 1e-06") +
           call("a", sizes + "]", "mul.Tensor", "%n" + n + ", %cos") +
           call("h",
                half + "]{strides=[" + (n == "q" ? "8" : "4") + ",4,4,1], offset=2, alias=%n" + n +
                    "}",
                "slice.Tensor", "%n" + n + ", -1, 2, 4") +
           call("l", half + "]{strides=[" + (n == "q" ? "8" : "4") + ",4,4,1], alias=%n" + n + "}",
                "slice.Tensor", "%n" + n + ", -1, 0, 2") +
           call("m", half + "]", "neg.default", "%h" + n) +
           call("c", sizes + "]", "cat.default", "[%m" + n + ", %l" + n + "], -1") +
           call("b", sizes + "]", "mul.Tensor", "%c" + n + ", %sin") +
           call("t", sizes + "]", "add.Tensor", "%a" + n + ", %b" + n);
  };
  return R"(graph g {
    %x : f32[1,8] = placeholder[target=x]
    %cos : f32[1,1,1,4] = placeholder[target=cos]
    %sin : f32[1,1,1,4] = placeholder[target=sin]
    %at : i64[1] = placeholder[target=at]
    %w : f32[4] = get_attr[target=w, kind=parameter]
    %p : f32[16,8] = get_attr[target=p, kind=parameter]
    %kc : f32[1,1,6,4] = get_attr[target=kc, kind=state]
    %vc : f32[1,1,6,4] = get_attr[target=vc, kind=state]
    %y : f32[1,16] = call_function[target=aten.linear.default](args = (%x, %p), kwargs = {})
    %q : f32[1,2,1,4]{strides=[16,4,4,1], alias=%y} = call_function[target=aten.as_strided.default](args = (%y, [1, 2, 1, 4], [16, 4, 4, 1], 0), kwargs = {})
    %k : f32[1,1,1,4]{strides=[16,4,4,1], offset=8, alias=%y} = call_function[target=aten.as_strided.default](args = (%y, [1, 1, 1, 4], [16, 4, 4, 1], 8), kwargs = {})
    %v : f32[1,1,1,4]{strides=[16,4,4,1], offset=12, alias=%y} = call_function[target=aten.as_strided.default](args = (%y, [1, 1, 1, 4], [16, 4, 4, 1], 12), kwargs = {})
)" + checks +
         turned("q", "1,2,1,4", "1,2,1,2") + turned("k", "1,1,1,4", "1,1,1,2") + more + R"(
    %kw : f32[1,1,6,4]{alias=%kc} = call_function[target=aten.index_copy_.default, writes=(%kc,)](args = (%kc, 2, %at, %tk), kwargs = {})
    %vw : f32[1,1,6,4]{alias=%vc} = call_function[target=aten.index_copy_.default, writes=(%vc,)](args = (%vc, 2, %at, %v), kwargs = {})
    %o : f32[1,2,1,4] = call_function[target=aten.scaled_dot_product_attention.default](args = (%tq, %kw, %vw), kwargs = {enable_gqa: True})
    return (%o,)
  })";
}

TEST(FuseHeads, NormsRotaryEmbeddingAndCachesAreOneLaunch) {
  EXPECT_TRUE(transforms(kHeads, heads(R"(
    // CHECK: [target=fusion.rms_norm_
    // CHECK-SAME: writes=(%kc, %vc)]
    // CHECK-NOT: rms_norm.default
    // CHECK: [target=aten.scaled_dot_product_attention.default]
    // CHECK: return
)",
                                       "")));
}

TEST(FuseHeads, NotIfAnybodyElseWantsTheNorm) {
  // The keys' norm is looked at by another call, so keys stay apart; queries and values go
  // together.
  EXPECT_TRUE(transforms(kHeads, heads(R"(
    // CHECK: [target=aten.rms_norm.default](args = (%k, [4], %w, 1e-06)
    // CHECK: return
)",
                                       R"(
    %z : f32[1,1,1,4] = call_function[target=aten.opaque_read.default](args = (%nk,), kwargs = {})
    %u : f32[1,1,6,4]{alias=%kc} = call_function[target=aten.index_copy_.default, writes=(%kc,)](args = (%kc, 2, %at, %z), kwargs = {})
)")));
}

TEST(FuseCachedAttention, TakesInItsQueryAndTheNewestRows) {
  EXPECT_TRUE(transforms(kCached, heads(R"(
    // CHECK: [target=fusion.rms_norm_
    // CHECK-SAME: writes=(%kc, %vc)]
    // CHECK-NOT: call_function[target=aten
    // CHECK: return
    // CHECK: subgraph
    // CHECK: index_copy_.default, writes=(%in_
    // CHECK: index_copy_.default, writes=(%in_
    // CHECK: aten.scaled_dot_product_attention.default
)",
                                        "")));
}

TEST(FuseCachedAttention, LeavesWhatOthersReadOutside) {
  EXPECT_TRUE(transforms(kCached, heads(R"(
    // CHECK: [target=aten.rms_norm.default](args = (%k, [4], %w, 1e-06)
    // CHECK-NOT: rms_norm.default](args = (%q
    // CHECK: [target=fusion.
    // CHECK-SAME: writes=(%kc, %vc)]
    // CHECK: return
)",
                                        R"(
    %z : f32[1,1,1,4] = call_function[target=aten.opaque_read.default](args = (%nk,), kwargs = {})
    %u : f32[1,1,6,4]{alias=%kc} = call_function[target=aten.index_copy_.default, writes=(%kc,)](args = (%kc, 2, %at, %z), kwargs = {})
)")));
}

/// Attention of `queries` over caches, or the first `keys` rows of them, after a write of `rows`.
std::string cached(const std::string& rows, const std::string& keys, const std::string& queries) {
  std::string text = R"(graph g {
    %q : f32[1,2,Q,4] = placeholder[target=q]
    %r : f32[1,1,R,4] = placeholder[target=r]
    %at : i64[R] = placeholder[target=at]
    %kc : f32[1,1,6,4] = get_attr[target=kc, kind=state]
    %vc : f32[1,1,6,4] = get_attr[target=vc, kind=state]
    %kw : f32[1,1,6,4]{alias=%kc} = call_function[target=aten.index_copy_.default, writes=(%kc,)](args = (%kc, 2, %at, %r), kwargs = {})
    %vw : f32[1,1,6,4]{alias=%vc} = call_function[target=aten.index_copy_.default, writes=(%vc,)](args = (%vc, 2, %at, %r), kwargs = {})
)";
  if (keys != "6") {
    text +=
        R"(    %ks : f32[1,1,K,4]{strides=[24,24,4,1], alias=%kc} = call_function[target=aten.slice.Tensor](args = (%kw, 2, 0, K), kwargs = {})
    %vs : f32[1,1,K,4]{strides=[24,24,4,1], alias=%vc} = call_function[target=aten.slice.Tensor](args = (%vw, 2, 0, K), kwargs = {})
)";
  }
  text +=
      "    %o : f32[1,2,Q,4] = call_function[target=aten.scaled_dot_product_attention.default]("
      "args = (%q, " +
      std::string(keys == "6" ? "%kw, %vw" : "%ks, %vs") +
      "), kwargs = {enable_gqa: True})\n    return (%o,)\n  }";
  for (const auto& [name, size] : {std::pair{"Q", queries}, {"R", rows}, {"K", keys}}) {
    for (std::size_t at = 0; (at = text.find(name, at)) != std::string::npos;) {
      text.replace(at, 1, size);
    }
  }
  return text;
}

TEST(FuseCachedAttention, OnlyForOneQueryAndOneRowOfWholeCaches) {
  EXPECT_FALSE(unchanged(kCached, cached("1", "6", "1")));
  EXPECT_FALSE(unchanged(kCached, cached("1", "06", "1")));  // by a view of all of it
  EXPECT_TRUE(unchanged(kCached, cached("1", "5", "1")));
  EXPECT_TRUE(unchanged(kCached, cached("2", "6", "1")));
  EXPECT_TRUE(unchanged(kCached, cached("1", "6", "3")));
}

}  // namespace
}  // namespace monograph::passes::testing
