#include "runtime/lower/lower.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/error.h>

#include <string>
#include <vector>

#include "capture/ir/text.h"
#include "capture/ir/verify.h"

namespace monograph::lower {
namespace {

using plan::BufferId;
using plan::BufferKind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// A graph and what became of it; launches point into the graph.
struct Case {
  ir::Graph graph;
  Lowered lowered;
};

Case lower_text(const std::string& body, const Chooser& choose = {}) {
  Case c;
  c.graph = ir::parse("graph g {\n" + body + "}\n");
  ir::verify(c.graph);
  c.lowered = lower(c.graph, choose);
  plan::check_plan(plan::make_plan(c.lowered.problem));
  plan::check_plan(plan::make_plan(c.lowered.problem, plan::Concurrency::kGraph));
  return c;
}

/// The buffers of a launch by name, in order of id.
std::vector<std::string> names(const Lowered& lowered, const std::vector<BufferId>& ids) {
  std::vector<std::string> list;
  for (const BufferId id : ids) {
    list.push_back(lowered.problem.buffers[static_cast<std::size_t>(id)].name);
  }
  return list;
}
std::vector<std::string> reads(const Case& c, std::size_t launch) {
  return names(c.lowered, c.lowered.problem.launches.at(launch).reads);
}
std::vector<std::string> writes(const Case& c, std::size_t launch) {
  return names(c.lowered, c.lowered.problem.launches.at(launch).writes);
}

void expect_refused(const std::string& body, const std::string& node, const std::string& message) {
  const ir::Graph graph = ir::parse("graph g {\n" + body + "}\n");
  ir::verify(graph);
  try {
    lower(graph, {});
    FAIL() << "lowered although " << message;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kInvalidGraph);
    EXPECT_EQ(e.node(), node);
    EXPECT_THAT(e.what(), HasSubstr(message));
  }
}

TEST(Lower, CostsAndPredictions) {
  const Case c = lower_text(R"(
    %x : f32[2,64] = placeholder[target=x]
    %w : f32[32,64] = get_attr[target=fc.weight, kind=parameter]
    %linear : f32[2,32] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {})
    %relu : f32[2,32] = call_function[target=aten.relu.default](args = (%linear,), kwargs = {})
    return (%relu,)
)");
  ASSERT_EQ(c.lowered.launches.size(), 2U);
  EXPECT_EQ(c.lowered.launches[0].cost.bytes, 512 + 8192 + 256);
  EXPECT_EQ(c.lowered.launches[0].cost.flops, 2.0 * 2 * 32 * 64);
  EXPECT_EQ(c.lowered.launches[1].cost.bytes, 256 + 256);
  const ir::Rates h200 = ir::Rates::h200();
  EXPECT_DOUBLE_EQ(c.lowered.launches[1].predicted_us, 512 / h200.bytes_per_us);
  EXPECT_DOUBLE_EQ(c.lowered.predicted_us, (8960 + 512) / h200.bytes_per_us + 2 * h200.boundary_us);
  EXPECT_EQ(c.lowered.cost.bytes, 8960 + 512);
  EXPECT_THAT(cost_table(c.lowered), HasSubstr("aten.linear.default"));
  EXPECT_THAT(cost_table(c.lowered), HasSubstr("2 launches, 9472 bytes, 8192 operations, 1.50 us"));
}

TEST(Lower, LinearAndRelu) {
  const Case c = lower_text(R"(
    %x : f32[2,64] = placeholder[target=x]
    %w : f32[32,64] = get_attr[target=fc.weight, kind=parameter]
    %linear : f32[2,32] = call_function[target=aten.linear.default](args = (%x, %w), kwargs = {})
    %relu : f32[2,32] = call_function[target=aten.relu.default](args = (%linear,), kwargs = {})
    return (%relu,)
)");
  EXPECT_EQ(text(c.lowered), R"(lowered {
  inputs=(%x)
  l0 = %linear : aten.linear.default by aten
  l1 = %relu : aten.relu.default by aten
  outputs=(%relu)
}
problem {
  b0 = input[bytes=512, slot=0, name="x"]
  b1 = weight[bytes=8192, name="fc.weight"]
  b2 = intermediate[bytes=256, name="linear"]
  b3 = output[bytes=256, slot=0, name="relu"]
  l0 = launch[name="linear", reads=(b0, b1), writes=(b2)]
  l1 = launch[name="relu", reads=(b2), writes=(b3)]
}
)");
  EXPECT_EQ(c.lowered.launches[1].node, c.graph.find("relu"));
  EXPECT_THAT(c.lowered.inputs, ElementsAre(c.graph.find("x")));
  EXPECT_THAT(c.lowered.outputs, ElementsAre(c.graph.find("relu")));
  ASSERT_THAT(c.lowered.storage_of, SizeIs(4));
  for (BufferId b = 0; b < 4; ++b) {
    const ir::StorageId storage = c.lowered.storage_of[static_cast<std::size_t>(b)];
    EXPECT_EQ(c.lowered.buffer_of[static_cast<std::size_t>(storage)], b);
  }
  EXPECT_EQ(c.graph.find("relu")->storage(), c.lowered.storage_of[3]);
}

TEST(Lower, ViewsAreNoLaunchesAndReadTheirStorage) {
  const Case c = lower_text(R"(
    %x : f32[2,3] = placeholder[target=x]
    %w : f32[3,2] = get_attr[target=w, kind=buffer]
    %t : f32[2,3]{strides=[1,2], alias=%w} = call_function[target=aten.t.default](args = (%w,), kwargs = {})
    %tt : f32[3,2]{alias=%w} = call_function[target=aten.t.default](args = (%t,), kwargs = {})
    %xv : f32[6]{alias=%x} = call_function[target=aten.view.default](args = (%x, [6]), kwargs = {})
    %mul : f32[6] = call_function[target=aten.mul.default](args = (%xv, %tt), kwargs = {})
    %mv : f32[2,3]{alias=%mul} = call_function[target=aten.view.default](args = (%mul, [2, 3]), kwargs = {})
    %out : f32[2,3] = call_function[target=aten.neg.default](args = (%mv,), kwargs = {})
    return (%out,)
)");
  ASSERT_THAT(c.lowered.launches, SizeIs(2));
  EXPECT_THAT(reads(c, 0), ElementsAre("x", "w"));
  EXPECT_THAT(writes(c, 0), ElementsAre("mul"));
  EXPECT_THAT(reads(c, 1), ElementsAre("mul"));
}

TEST(Lower, NestedListsAndKeywordsAreRead) {
  const Case c = lower_text(R"(
    %a : f32[2] = placeholder[target=a]
    %b : f32[2] = placeholder[target=b]
    %m : f32[2] = placeholder[target=m]
    %cat : f32[4] = call_function[target=aten.cat.default](args = ([%a, [%b, None]], 0), kwargs = {mask: %m})
    return (%cat,)
)");
  EXPECT_THAT(reads(c, 0), ElementsAre("a", "b", "m"));
}

TEST(Lower, ListResults) {
  const Case c = lower_text(R"(
    %x : f32[4] = placeholder[target=x]
    %pair : (f32[4], i64[4]) = call_function[target=aten.sort.default](args = (%x,), kwargs = {})
    %getitem : i64[4]{alias=%pair#1} = call_function[target=operator.getitem](args = (%pair, 1), kwargs = {})
    %neg : i64[4] = call_function[target=aten.neg.default](args = (%getitem,), kwargs = {})
    %both : f32[4] = call_function[target=aten.both.default](args = (%pair,), kwargs = {})
    return (%neg, %both)
)");
  ASSERT_THAT(c.lowered.launches, SizeIs(3));
  EXPECT_THAT(writes(c, 0), ElementsAre("pair#0", "pair#1"));
  EXPECT_THAT(reads(c, 1), ElementsAre("pair#1"));
  EXPECT_THAT(reads(c, 2), ElementsAre("pair#0", "pair#1"));
  // pair#0 is read as a whole list only: both elements are intermediates.
  EXPECT_EQ(c.lowered.problem.buffers[1].kind, BufferKind::kIntermediate);
}

TEST(Lower, ElementOfAListCanBeAnOutput) {
  const Case c = lower_text(R"(
    %x : f32[4] = placeholder[target=x]
    %pair : (f32[4], i64[4]) = call_function[target=aten.sort.default](args = (%x,), kwargs = {})
    %getitem : i64[4]{alias=%pair#1} = call_function[target=operator.getitem](args = (%pair, 1), kwargs = {})
    return (%getitem,)
)");
  EXPECT_EQ(c.lowered.problem.buffers[1].kind, BufferKind::kIntermediate);  // a dead write
  EXPECT_EQ(c.lowered.problem.buffers[2].kind, BufferKind::kOutput);
  EXPECT_EQ(c.lowered.problem.buffers[2].slot, 0);
}

TEST(Lower, InPlaceReadsAndWritesThroughViews) {
  const Case c = lower_text(R"(
    %x : f32[2,2] = placeholder[target=x]
    %mm : f32[2,2] = call_function[target=aten.mm.default](args = (%x, %x), kwargs = {})
    %v : f32[4]{alias=%mm} = call_function[target=aten.view.default](args = (%mm, [4]), kwargs = {})
    %add_ : f32[4]{alias=%mm} = call_function[target=aten.add_.Tensor, writes=(%v,)](args = (%v, 1), kwargs = {})
    %out : f32[2,2] = call_function[target=aten.neg.default](args = (%mm,), kwargs = {})
    return (%out,)
)");
  ASSERT_THAT(c.lowered.launches, SizeIs(3));
  EXPECT_THAT(reads(c, 1), ElementsAre("mm"));
  EXPECT_THAT(writes(c, 1), ElementsAre("mm"));
  const plan::Plan plan = plan::make_plan(c.lowered.problem);
  EXPECT_THAT(plan.edges, ElementsAre(plan::Edge{0, 1}, plan::Edge{1, 2}));
}

TEST(Lower, OutVariantWithoutResults) {
  const Case c = lower_text(R"(
    %x : f32[4] = placeholder[target=x]
    %empty : f32[4] = call_function[target=aten.empty.memory_format, traits=(nondeterministic)](args = ([4],), kwargs = {})
    %fill : () = call_function[target=custom.copy.out, writes=(%empty,)](args = (%x,), kwargs = {out: %empty})
    return (%empty,)
)");
  ASSERT_THAT(c.lowered.launches, SizeIs(2));
  EXPECT_THAT(reads(c, 1), ElementsAre("x", "empty"));
  EXPECT_THAT(writes(c, 1), ElementsAre("empty"));
  EXPECT_EQ(
      c.lowered.problem.buffers[static_cast<std::size_t>(c.lowered.problem.launches[1].writes[0])]
          .kind,
      BufferKind::kOutput);
}

TEST(Lower, PartlyFreshPartlyViewIsALaunch) {
  const Case c = lower_text(R"(
    %x : f32[4] = placeholder[target=x]
    %a : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %mixed : (f32[4]{alias=%a}, f32[1]) = call_function[target=custom.stats.default](args = (%a,), kwargs = {})
    %first : f32[4]{alias=%a} = call_function[target=operator.getitem](args = (%mixed, 0), kwargs = {})
    %second : f32[1]{alias=%mixed#1} = call_function[target=operator.getitem](args = (%mixed, 1), kwargs = {})
    %out : f32[4] = call_function[target=aten.mul.Tensor](args = (%first, %second), kwargs = {})
    return (%out,)
)");
  ASSERT_THAT(c.lowered.launches, SizeIs(3));
  EXPECT_THAT(reads(c, 1), ElementsAre("a"));
  EXPECT_THAT(writes(c, 1), ElementsAre("mixed#1"));
  EXPECT_THAT(reads(c, 2), ElementsAre("a", "mixed#1"));
}

TEST(Lower, StateIsReadAndWritten) {
  const Case c = lower_text(R"(
    %x : f32[4] = placeholder[target=x]
    %cache : f32[4] = get_attr[target=kv.cache, kind=state]
    %copy_ : f32[4]{alias=%cache} = call_function[target=aten.copy_.default, writes=(%cache,)](args = (%cache, %x), kwargs = {})
    %out : f32[4] = call_function[target=aten.neg.default](args = (%copy_,), kwargs = {})
    return (%out,)
)");
  EXPECT_EQ(c.lowered.problem.buffers[1].kind, BufferKind::kState);
  EXPECT_EQ(c.lowered.problem.buffers[1].name, "kv.cache");
  EXPECT_THAT(writes(c, 0), ElementsAre("kv.cache"));
  EXPECT_THAT(reads(c, 1), ElementsAre("kv.cache"));
}

TEST(Lower, UnusedPlaceholdersKeepTheirSlotUnusedWeightsHaveNone) {
  const Case c = lower_text(R"(
    %a : f32[4] = placeholder[target=a]
    %unused : f32[4] = placeholder[target=unused]
    %b : f32[4] = placeholder[target=b]
    %w : f32[4] = get_attr[target=w, kind=constant]
    %out : f32[4] = call_function[target=aten.neg.default](args = (%b,), kwargs = {})
    return (%out,)
)");
  ASSERT_THAT(c.lowered.problem.buffers, SizeIs(4));
  for (std::int32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(c.lowered.problem.buffers[static_cast<std::size_t>(i)].slot, i);
  }
  EXPECT_EQ(c.lowered.problem.buffers[1].name, "unused");
  EXPECT_EQ(c.lowered.buffer_of[static_cast<std::size_t>(c.graph.find("w")->storage())], -1);
  EXPECT_THAT(c.lowered.inputs, SizeIs(3));
}

TEST(Lower, WeightsThatShareAStorageAreOneBuffer) {
  const Case c = lower_text(R"(
    %x : f32[4] = placeholder[target=x]
    %w : f32[4] = get_attr[target=encoder.weight, kind=parameter]
    %tied : f32[4]{alias=%w} = get_attr[target=decoder.weight, kind=parameter]
    %out : f32[4] = call_function[target=aten.addcmul.default](args = (%x, %w, %tied), kwargs = {})
    return (%out,)
)");
  EXPECT_THAT(reads(c, 0), ElementsAre("x", "encoder.weight"));
}

TEST(Lower, StorageLargerThanItsTensorCountsInFull) {
  const Case c = lower_text(R"(
    %x : f32[4]{bytes=4096} = placeholder[target=x]
    %a : f32[4]{bytes=1024} = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %out : f32[4] = call_function[target=aten.neg.default](args = (%a,), kwargs = {})
    return (%out,)
)");
  EXPECT_EQ(c.lowered.problem.buffers[0].bytes, 4096);
  EXPECT_EQ(c.lowered.problem.buffers[1].bytes, 1024);
}

TEST(Lower, EmptyTensorsAreFine) {
  const Case c = lower_text(R"(
    %x : f32[0,4] = placeholder[target=x]
    %a : f32[0,4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %out : f32[0,4] = call_function[target=aten.neg.default](args = (%a,), kwargs = {})
    return (%out,)
)");
  EXPECT_THAT(c.lowered.launches, SizeIs(2));
  EXPECT_EQ(plan::make_plan(c.lowered.problem).arena_bytes, 0);
}

TEST(Lower, UndefinedResultsCostNothing) {
  const Case c = lower_text(R"(
    %x : f32[4] = placeholder[target=x]
    %pair : (f32[4], undefined) = call_function[target=aten.maybe.default](args = (%x,), kwargs = {})
    %first : f32[4]{alias=%pair#0} = call_function[target=operator.getitem](args = (%pair, 0), kwargs = {})
    return (%first,)
)");
  ASSERT_THAT(c.lowered.launches, SizeIs(1));
  EXPECT_THAT(writes(c, 0), ElementsAre("pair#0"));
}

TEST(Lower, OutputsNestAndSkipWhatIsNoTensor) {
  const Case c = lower_text(R"(
    %x : f32[4] = placeholder[target=x]
    %a : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %b : f32[4] = call_function[target=aten.abs.default](args = (%x,), kwargs = {})
    return ([%b, None, 3], %a)
)");
  EXPECT_THAT(c.lowered.outputs, ElementsAre(c.graph.find("b"), c.graph.find("a")));
  EXPECT_EQ(c.lowered.problem.buffers[1].name, "a");
  EXPECT_EQ(c.lowered.problem.buffers[1].slot, 1);
  EXPECT_EQ(c.lowered.problem.buffers[2].slot, 0);
}

TEST(Lower, AViewThatCoversItsStorageCanBeAnOutput) {
  const Case c = lower_text(R"(
    %x : f32[4] = placeholder[target=x]
    %a : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    %v : f32[2,2]{alias=%a} = call_function[target=aten.view.default](args = (%a, [2, 2]), kwargs = {})
    return (%v,)
)");
  EXPECT_THAT(c.lowered.outputs, ElementsAre(c.graph.find("v")));
  EXPECT_EQ(c.lowered.problem.buffers[1].kind, BufferKind::kOutput);
}

TEST(Lower, NoCallsNoLaunches) {
  const Case c = lower_text("%x : f32[4] = placeholder[target=x]\nreturn ()\n");
  EXPECT_THAT(c.lowered.launches, IsEmpty());
  EXPECT_THAT(c.lowered.problem.buffers, SizeIs(1));
}

TEST(Lower, AssertionsAreDropped) {
  const Case c = lower_text(R"(
    %x : f32[4] = placeholder[target=x]
    %ok : bool[] = call_function[target=aten.all.default](args = (%x,), kwargs = {})
    %check : () = call_function[target=aten._assert_async.msg](args = (%ok, "positive"), kwargs = {})
    %out : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
    return (%out,)
)");
  EXPECT_THAT(c.lowered.launches, SizeIs(2));
}

constexpr const char* kFused = R"(
    %x : f32[4] = placeholder[target=x]
    %y : f32[4] = call_function[target=fusion.act](args = (%x,), kwargs = {})
    %z : f32[4] = call_function[target=aten.abs.default](args = (%y,), kwargs = {})
    return (%z,)
    subgraph act {
      %a : f32[4] = placeholder[target=a]
      %b : f32[4] = call_function[target=aten.neg.default](args = (%a,), kwargs = {})
      %c : f32[4] = call_function[target=aten.exp.default](args = (%b,), kwargs = {})
      return (%c,)
    }
)";

TEST(Lower, FusionsAreOneLaunch) {
  const Case c = lower_text(kFused);
  ASSERT_THAT(c.lowered.launches, SizeIs(2));
  EXPECT_EQ(c.lowered.launches[0].kind, LaunchKind::kFusion);
  EXPECT_EQ(c.lowered.launches[1].kind, LaunchKind::kAten);
}

TEST(Lower, TheBackEndChooses) {
  std::vector<std::string> asked;
  const Chooser choose = [&asked](const ir::Node& node) -> Choice {
    asked.push_back(node.name());
    if (node.target() == "fusion.act") return {LaunchKind::kKernel, "fused_act", "matches", 1000};
    return {LaunchKind::kLibrary, "cublas", "", 0};
  };
  const Case c = lower_text(kFused, choose);
  EXPECT_THAT(asked, ElementsAre("y", "z"));
  EXPECT_EQ(c.lowered.launches[0].kind, LaunchKind::kKernel);
  EXPECT_EQ(c.lowered.launches[0].implementation, "fused_act");
  EXPECT_EQ(c.lowered.launches[0].reason, "matches");
  EXPECT_EQ(c.lowered.problem.launches[0].workspace_bytes, 1000);
  EXPECT_THAT(text(c.lowered), HasSubstr("l0 = %y : fusion.act by kernel fused_act (matches)\n"
                                         "  l1 = %z : aten.abs.default by library cublas\n"));
}

TEST(Lower, AnImpossibleChoiceIsADefect) {
  const ir::Graph graph = ir::parse(std::string("graph g {\n") + kFused + "}\n");
  for (const Choice& bad :
       {Choice{LaunchKind::kAten, "", "", -1}, Choice{LaunchKind::kFusion, "", "", 0}}) {
    try {
      lower(graph, [&bad](const ir::Node&) { return bad; });
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kInternal);
      EXPECT_FALSE(e.node().empty());
    }
  }
}

TEST(Refusals, OutputsThatDontOwnTheirStorage) {
  const std::string x = "%x : f32[4] = placeholder[target=x]\n";
  const std::string a =
      "%a : f32[4] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})\n";
  expect_refused(x + "return (%x,)\n", "x", "output 0 isn't a tensor that fills a storage");
  expect_refused(x + "%w : f32[4] = get_attr[target=w, kind=parameter]\nreturn (%w,)\n", "w",
                 "output 0 isn't a tensor");
  expect_refused(x + a + "return (%a, %a)\n", "a", "output 1 shares its storage with %a");
  expect_refused(x + a +
                     "%v : f32[4]{alias=%a} = call_function[target=aten.view.default](args = "
                     "(%a, [4]), kwargs = {})\nreturn ([%a], %v)\n",
                 "v", "output 1 shares its storage with %a");
  expect_refused(x + a +
                     "%s : f32[2]{alias=%a} = call_function[target=aten.slice.default](args = "
                     "(%a, 0, 0, 2), kwargs = {})\nreturn (%s,)\n",
                 "s", "output 0 isn't a tensor that fills");
  expect_refused(x + "%l : (f32[4], f32[4]) = call_function[target=aten.pair.default](args = "
                     "(%x,), kwargs = {})\nreturn (%l,)\n",
                 "l", "output 0 isn't a tensor");
}

TEST(Refusals, CallsWithoutEffect) {
  const std::string x = "%x : f32[4] = placeholder[target=x]\n";
  expect_refused(
      x + "%p : () = call_function[target=custom.print.default](args = (%x,), kwargs = {})\n"
          "return ()\n",
      "p", "custom.print.default neither makes a new tensor nor writes one");
}

}  // namespace
}  // namespace monograph::lower
