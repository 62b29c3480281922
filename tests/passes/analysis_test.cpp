#include "capture/ir/analysis.h"

#include <gmock/gmock.h>
#include <monograph/error.h>

#include "capture/ir/text.h"

namespace monograph::ir {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TensorType typed(std::vector<std::int64_t> sizes, std::vector<std::int64_t> strides,
                 std::int64_t offset = 0) {
  TensorType t;
  t.dtype = DType::kF32;
  t.sizes = std::move(sizes);
  t.strides = std::move(strides);
  t.offset = offset;
  return t;
}

TEST(IsDense, AnyOrderOfDimensionsWithoutGaps) {
  EXPECT_TRUE(is_dense(typed({2, 3}, {3, 1})));
  EXPECT_TRUE(is_dense(typed({2, 3}, {1, 2})));
  EXPECT_TRUE(is_dense(typed({2, 4, 3}, {12, 1, 4})));
  EXPECT_TRUE(is_dense(typed({2, 1, 3}, {3, 77, 1})));  // size 1: the stride doesn't matter
  EXPECT_TRUE(is_dense(typed({}, {})));
  EXPECT_TRUE(is_dense(typed({0, 3}, {9, 9})));
}

TEST(IsDense, GapsOverlapsAndOffsetsArent) {
  EXPECT_FALSE(is_dense(typed({2, 3}, {4, 1})));
  EXPECT_FALSE(is_dense(typed({2, 3}, {0, 1})));
  EXPECT_FALSE(is_dense(typed({2, 2}, {1, 1})));
  EXPECT_FALSE(is_dense(typed({3}, {2})));
  EXPECT_FALSE(is_dense(typed({3}, {1}, 1)));
  EXPECT_FALSE(is_dense(TensorType{}));
}

Graph example() {
  return parse(R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %a : f32[4] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    %v : f32[2]{alias=%a} = call_function[target=aten.slice.Tensor](args = (%a, 0, 0, 2), kwargs = {})
    %b : f32[4] = call_function[target=aten.neg.default](args = (%a,), kwargs = {})
    %z : f32[2]{alias=%a} = call_function[target=aten.zero_.default, writes=(%v,)](args = (%v,), kwargs = {})
    %c : f32[4] = call_function[target=aten.abs.default](args = (%a,), kwargs = {})
    return ([%b, [%z]], %b, None)
  })");
}

TEST(OwnsStorage, WholeIntermediatesOnly) {
  const Graph g = example();
  EXPECT_FALSE(owns_storage(g, *g.find("x")));
  EXPECT_TRUE(owns_storage(g, *g.find("a")));
  EXPECT_FALSE(owns_storage(g, *g.find("v")));
}

TEST(OutputLeaves, InOrderWithRepetitions) {
  const Graph g = example();
  EXPECT_THAT(output_leaves(g), ElementsAre(g.find("b"), g.find("z"), g.find("b")));
  EXPECT_THAT(output_leaves(Graph("empty")), IsEmpty());
}

TEST(StorageIndex, KnowsPositionsUsesAndWrites) {
  const Graph g = example();
  const StorageIndex index(g);
  const StorageId a = g.find("a")->storage();
  EXPECT_EQ(index.position(*g.find("b")), 3);
  EXPECT_EQ(index.last_use(*g.find("v")), 4);
  EXPECT_EQ(index.last_use(*g.find("c")), -1);
  EXPECT_EQ(index.last_use(a), 6);  // %z is returned
  EXPECT_TRUE(index.written(a));
  EXPECT_FALSE(index.written(g.find("b")->storage()));
  EXPECT_TRUE(index.written_between(a, 3, 4));
  EXPECT_FALSE(index.written_between(a, 4, 6));
  EXPECT_FALSE(index.written_between(a, 0, 3));
  EXPECT_TRUE(index.reaches_output(a));
  EXPECT_FALSE(index.reaches_output(g.find("c")->storage()));
  EXPECT_THAT(index.values(a), ElementsAre(g.find("a"), g.find("v"), g.find("z")));
}

TEST(StorageIndex, FollowsRehomedValues) {
  Graph g = example();
  StorageIndex index(g);
  const StorageId a = g.find("a")->storage();
  const StorageId c = g.find("c")->storage();
  index.rehome(g, a, c);
  EXPECT_EQ(g.find("v")->storage(), c);
  EXPECT_EQ(g.find("z")->storage(), c);
  EXPECT_TRUE(index.written_between(c, 3, 4));
  EXPECT_TRUE(index.reaches_output(c));
  EXPECT_EQ(index.last_use(c), 6);
  EXPECT_FALSE(index.written(a));
  EXPECT_THAT(index.values(a), IsEmpty());
}

TEST(StorageIndex, KnowsWhatItWasTold) {
  Graph g = example();
  StorageIndex index(g);
  Node* fresh = nullptr;
  {
    const Graph::InsertionGuard guard(g, g.find("c"));
    fresh = g.call("aten.relu.default", {Arg(g.find("x"))}, {},
                   Results::tensor(TensorType::contiguous(DType::kF32, {4})));
  }
  EXPECT_THROW(index.position(*fresh), Error);
  EXPECT_FALSE(index.written(fresh->storage()));
  index.add(*fresh, 5);
  EXPECT_EQ(index.position(*fresh), 5);
  EXPECT_THAT(index.values(fresh->storage()), ElementsAre(fresh));
  index.move(*fresh, 2);
  EXPECT_EQ(index.position(*fresh), 2);
  index.forget(*fresh);
  EXPECT_THROW(index.position(*fresh), Error);
  EXPECT_THAT(index.values(fresh->storage()), IsEmpty());
}

TEST(IsRepeatable, NotRandomNotUndefinedAlsoInside) {
  const Graph g = parse(R"(graph g {
    %x : f32[4] = placeholder[target=x]
    %r : f32[4] = call_function[target=aten.rand.default, traits=(random,)](args = ([4],), kwargs = {})
    %e : f32[4] = call_function[target=aten.empty.memory_format](args = ([4],), kwargs = {})
    %n : f32[4] = call_function[target=mine.scratch.default, traits=(nondeterministic,)](args = (%x,), kwargs = {})
    %f : f32[4] = call_function[target=fusion.noise](args = (%x,), kwargs = {})
    %p : f32[4] = call_function[target=fusion.plain](args = (%x,), kwargs = {})
    return (%r, %e, %n, %f, %p)
    subgraph noise {
      %a : f32[4] = placeholder[target=a]
      %b : f32[4] = call_function[target=aten.rand_like.default, traits=(random,)](args = (%a,), kwargs = {})
      return (%b,)
    }
    subgraph plain {
      %a : f32[4] = placeholder[target=a]
      %b : f32[4] = call_function[target=aten.relu.default](args = (%a,), kwargs = {})
      return (%b,)
    }
  })");
  for (const char* name : {"r", "e", "n", "f"}) EXPECT_FALSE(is_repeatable(*g.find(name))) << name;
  for (const char* name : {"x", "p"}) EXPECT_TRUE(is_repeatable(*g.find(name))) << name;
}

}  // namespace
}  // namespace monograph::ir
