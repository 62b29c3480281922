// channels_last, fuse_convolution.
#include <map>
#include <string>

#include "tests/passes/filecheck.h"

namespace monograph::passes::testing {
namespace {

constexpr double kTolerance = 1e-12;

TEST(ChannelsLast, ChainWithCopiesAtItsBorders) {
  EXPECT_TRUE(transforms({"channels_last"}, R"(graph g {
    %x : f16[1,2,3,2] = placeholder[target=x]
    %w : f16[4,2,1,1] = get_attr[target=w, kind=parameter]
    %v : f16[2,4,1,1] = get_attr[target=v, kind=parameter]
    %b : f16[4] = get_attr[target=b, kind=parameter]
    // CHECK: %clone : f16[1,2,3,2]{strides=[12,1,4,2]} = call_function[target=aten.clone.default](args = (%x,), kwargs = {memory_format: torch.channels_last})
    // CHECK: %c : f16[1,4,3,2]{strides=[24,1,8,4]} = call_function[target=aten.conv2d.default](args = (%clone, %w, %b)
    // CHECK: %r : f16[1,4,3,2]{strides=[24,1,8,4]} = call_function[target=aten.relu.default](args = (%c,)
    // CHECK: %d : f16[1,2,3,2]{strides=[12,1,4,2]} = call_function[target=aten.conv2d.default](args = (%r, %v)
    %c : f16[1,4,3,2] = call_function[target=aten.conv2d.default](args = (%x, %w, %b), kwargs = {})
    %r : f16[1,4,3,2] = call_function[target=aten.relu.default](args = (%c,), kwargs = {})
    %d : f16[1,2,3,2] = call_function[target=aten.conv2d.default](args = (%r, %v), kwargs = {})
    // CHECK: %clone_1 : f16[1,2,3,2] = call_function[target=aten.clone.default](args = (%d,), kwargs = {memory_format: torch.contiguous_format})
    // CHECK: %f : f16[1,12]{alias=%clone_1} = call_function[target=aten.view.default](args = (%clone_1, [1, 12])
    %f : f16[1,12]{alias=%d} = call_function[target=aten.view.default](args = (%d, [1, 12]), kwargs = {})
    %n : f16[1,12] = call_function[target=aten.neg.default](args = (%f,), kwargs = {})
    return (%n,)
  })"));
}

TEST(ChannelsLast, ResidualPoolsAndMeansNeedNoCopies) {
  EXPECT_TRUE(transforms({"channels_last"}, R"(graph g {
    %x : f16[1,4,4,2] = placeholder[target=x]
    %w : f16[4,4,1,1] = get_attr[target=w, kind=parameter]
    // CHECK: torch.channels_last
    // CHECK-NOT: target=aten.clone
    // CHECK: %p : (f16[1,4,2,1]{strides=[8,1,4,4]}, i64[1,4,2,1]{strides=[8,1,4,4]})
    // CHECK: %v : f16[1,4,2,1]{strides=[8,1,4,4]
    // CHECK: %s : f16[1,4,2,1]{strides=[8,1,4,4]}
    // CHECK-NOT: target=aten.clone
    // CHECK: %m : f16[1,4,1,1]
    %a : f16[1,4,4,2] = call_function[target=aten.conv2d.default](args = (%x, %w), kwargs = {})
    %p : (f16[1,4,2,1], i64[1,4,2,1]) = call_function[target=aten.max_pool2d_with_indices.default](args = (%a, [2, 2]), kwargs = {})
    %v : f16[1,4,2,1]{alias=%p#0} = call_function[target=operator.getitem](args = (%p, 0), kwargs = {})
    %c : f16[1,4,2,1] = call_function[target=aten.conv2d.default](args = (%v, %w), kwargs = {})
    %d : f16[1,4,2,1] = call_function[target=aten.conv2d.default](args = (%c, %w), kwargs = {})
    %s : f16[1,4,2,1] = call_function[target=aten.add.Tensor](args = (%d, %v), kwargs = {})
    %r : f16[1,4,2,1] = call_function[target=aten.relu.default](args = (%s,), kwargs = {})
    %m : f16[1,4,1,1] = call_function[target=aten.sum.dim_IntList](args = (%r, [-1, -2], True), kwargs = {})
    return (%m,)
  })"));
}

TEST(ChannelsLast, WeightsAreTurnedOnce) {
  EXPECT_TRUE(transforms({"channels_last", "constant_folding"}, R"(graph g {
    %x : bf16[1,2,4,4] = placeholder[target=x]
    %w : bf16[2,2,3,3] = get_attr[target=w, kind=parameter]
    // CHECK: %folded_0 : bf16[2,2,3,3]{strides=[18,1,6,2]} = get_attr[target=folded_0, kind=constant]
    // CHECK: aten.conv2d.default](args = (%clone, %folded_0, None, [1, 1], [1, 1])
    // CHECK: aten.conv2d.default](args = (%c, %folded_0, None, [1, 1], [1, 1])
    %c : bf16[1,2,4,4] = call_function[target=aten.conv2d.default](args = (%x, %w, None, [1, 1], [1, 1]), kwargs = {})
    %d : bf16[1,2,4,4] = call_function[target=aten.conv2d.default](args = (%c, %w, None, [1, 1], [1, 1]), kwargs = {})
    return (%d,)
  })"));
}

TEST(ChannelsLast, NotForOneConvolutionNorForFullPrecision) {
  EXPECT_TRUE(unchanged({"channels_last"}, R"(graph g {
    %x : f16[1,2,3,2] = placeholder[target=x]
    %w : f16[4,2,1,1] = get_attr[target=w, kind=parameter]
    %c : f16[1,4,3,2] = call_function[target=aten.conv2d.default](args = (%x, %w), kwargs = {})
    return (%c,)
  })"));
  EXPECT_TRUE(unchanged({"channels_last"}, R"(graph g {
    %x : f32[1,2,3,2] = placeholder[target=x]
    %w : f32[2,2,1,1] = get_attr[target=w, kind=parameter]
    %c : f32[1,2,3,2] = call_function[target=aten.conv2d.default](args = (%x, %w), kwargs = {})
    %d : f32[1,2,3,2] = call_function[target=aten.conv2d.default](args = (%c, %w), kwargs = {})
    %e : f32[1,2,3,2] = call_function[target=aten.conv2d.default](args = (%d, %w), kwargs = {})
    return (%e,)
  })"));
  // A computed weight, and results that are written.
  EXPECT_TRUE(unchanged({"channels_last"}, R"(graph g {
    %x : f16[1,2,3,2] = placeholder[target=x]
    %y : f16[2,2,1,1] = placeholder[target=y]
    %w : f16[2,2,1,1] = get_attr[target=w, kind=parameter]
    %c : f16[1,2,3,2] = call_function[target=aten.conv2d.default](args = (%x, %y), kwargs = {})
    %d : f16[1,2,3,2] = call_function[target=aten.conv2d.default](args = (%c, %w), kwargs = {})
    %e : f16[1,2,3,2]{alias=%d} = call_function[target=aten.relu_.default, writes=(%d,)](args = (%d,), kwargs = {})
    return (%e,)
  })"));
}

TEST(ChannelsLast, SaysWhatItCosts) {
  const std::string notes = notes_of("channels_last", R"(graph g {
    %x : f16[1,2,3,2] = placeholder[target=x]
    %w : f16[4,2,1,1] = get_attr[target=w, kind=parameter]
    %c : f16[1,4,3,2] = call_function[target=aten.conv2d.default](args = (%x, %w), kwargs = {})
    return (%c,)
  })");
  EXPECT_NE(notes.find("1 convolutions from %c on stay: 1.50 us of copies, 1.50 us saved"),
            std::string::npos)
      << notes;
}

TEST(FuseConvolution, SumAndRelu) {
  EXPECT_TRUE(transforms_within(kTolerance, {"fuse_convolution"}, R"(graph g {
    %x : f32[1,2,3,2] = placeholder[target=x]
    %w : f32[2,2,1,1] = get_attr[target=w, kind=parameter]
    %b : f32[2] = get_attr[target=b, kind=parameter]
    // CHECK: call_function[target=fusion.conv2d_relu](args = (%x, %w, %b)
    // CHECK: call_function[target=fusion.conv2d_add_relu]
    // CHECK-NOT: aten.relu.default](args = (%s
    %c : f32[1,2,3,2] = call_function[target=aten.conv2d.default](args = (%x, %w, %b), kwargs = {})
    %r : f32[1,2,3,2] = call_function[target=aten.relu.default](args = (%c,), kwargs = {})
    %d : f32[1,2,3,2] = call_function[target=aten.conv2d.default](args = (%r, %w, %b), kwargs = {})
    %e : f32[1,2,3,2] = call_function[target=aten.conv2d.default](args = (%x, %w, %b), kwargs = {})
    %s : f32[1,2,3,2] = call_function[target=aten.add.Tensor](args = (%d, %e), kwargs = {})
    %t : f32[1,2,3,2] = call_function[target=aten.relu.default](args = (%s,), kwargs = {})
    return (%t,)
  })"));
}

TEST(FuseConvolution, NotWhatOthersNeedToo) {
  EXPECT_TRUE(unchanged({"fuse_convolution"}, R"(graph g {
    %x : f32[1,2,3,2] = placeholder[target=x]
    %v : f32[2] = placeholder[target=v]
    %w : f32[2,2,1,1] = get_attr[target=w, kind=parameter]
    %c : f32[1,2,3,2] = call_function[target=aten.conv2d.default](args = (%x, %w), kwargs = {})
    %r : f32[1,2,3,2] = call_function[target=aten.relu.default](args = (%c,), kwargs = {})
    %d : f32[1,2,3,2] = call_function[target=aten.conv2d.default](args = (%x, %w), kwargs = {})
    %s : f32[1,2,3,2] = call_function[target=aten.add.Tensor](args = (%d, %v), kwargs = {})
    return (%c, %r, %s)
  })"));
}

std::string patches(const std::string& stride, const std::string& padding, const std::string& end) {
  return R"(graph g {
    %x : f32[2,3,4,6] = placeholder[target=x]
    %w : f32[5,3,2,3] = get_attr[target=w, kind=parameter]
    %b : f32[5] = get_attr[target=b, kind=parameter]
    %c : f32[2,5,2,2] = call_function[target=aten.conv2d.default](args = (%x, %w, %b, )" +
         stride + ", " + padding + R"(), kwargs = {})
    %f : f32[2,5,4]{alias=%c} = call_function[target=aten.view.default](args = (%c, [2, 5, 4]), kwargs = {})
    %t : f32[2,4,5]{alias=%c, strides=[20,1,4]} = call_function[target=aten.transpose.int](args = (%f, 1, 2), kwargs = {})
)" + end +
         "  }";
}

TEST(PatchConvolution, IsACopyAndALinearLayer) {
  EXPECT_TRUE(transforms_within(kTolerance, {"patch_convolution", "dead_code"},
                                patches("[2, 3]", "[0, 0]", R"(
    // CHECK: %permute : f32[2,2,2,3,2,3]{strides=[72,12,3,24,6,1], alias=%x}
    // CHECK: %clone : f32[2,2,2,3,2,3] = call_function[target=aten.clone.default](args = (%permute,)
    // CHECK: %view_1 : f32[2,4,18]{alias=%clone}
    // CHECK: %view_2 : f32[5,18]{alias=%w}
    // CHECK: %linear : f32[2,4,5] = call_function[target=aten.linear.default](args = (%view_1, %view_2, %b)
    // CHECK-NOT: conv2d
    // CHECK: aten.neg.default](args = (%linear,)
    %n : f32[2,4,5] = call_function[target=aten.neg.default](args = (%t,), kwargs = {})
    return (%n,)
)")));
}

TEST(PatchConvolution, NotWhereWindowsOverlapOrRowsArentAllThatIsRead) {
  const std::string end = R"(
    %n : f32[2,4,5] = call_function[target=aten.neg.default](args = (%t,), kwargs = {})
)";
  const std::string rows = end + "    return (%n,)\n";
  std::string overlapping = patches("[1, 3]", "[0, 0]", rows);
  for (const std::string from : {"[2,5,2,2]", "[2,5,4]", "[2, 5, 4]", "[2,4,5]", "[20,1,4]"}) {
    const std::map<std::string, std::string> to{{"[2,5,2,2]", "[2,5,3,2]"},
                                                {"[2,5,4]", "[2,5,6]"},
                                                {"[2, 5, 4]", "[2, 5, 6]"},
                                                {"[2,4,5]", "[2,6,5]"},
                                                {"[20,1,4]", "[30,1,6]"}};
    for (std::size_t at = 0; (at = overlapping.find(from, at)) != std::string::npos;) {
      overlapping.replace(at, from.size(), to.at(from));
    }
  }
  EXPECT_TRUE(unchanged({"patch_convolution"}, overlapping));
  EXPECT_TRUE(
      unchanged({"patch_convolution"}, patches("[2, 3]", "[0, 0]", end + "    return (%n, %f)\n")));
  EXPECT_TRUE(unchanged({"patch_convolution"}, patches("[2, 3]", "[0, 0]", "    return (%t,)\n")));
  // A layout that came from the view's.
  EXPECT_TRUE(unchanged({"patch_convolution"}, patches("[2, 3]", "[0, 0]", R"(
    %n : f32[2,4,5]{strides=[20,1,4]} = call_function[target=aten.neg.default](args = (%t,), kwargs = {})
    return (%n,)
)")));
}

}  // namespace
}  // namespace monograph::passes::testing
