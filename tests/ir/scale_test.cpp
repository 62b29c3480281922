// Graphs of many nodes: whatever grows faster than n log n takes minutes here.
#include "capture/ir/python.h"
#include "capture/ir/verify.h"
#include "tests/ir/expect.h"

namespace monograph::ir {
namespace {

using testing::expect_round_trip;
using testing::f32;

constexpr int kNodes = 20000;

TEST(Scale, ChainsOfManyNodes) {
  Graph g("chain");
  Node* last = g.placeholder("x", f32({8, 8}));
  for (int i = 0; i < kNodes; ++i) {
    last = i % 3 == 0
               ? g.call("aten.t.default", {last}, {}, Results::tensor(f32({8, 8}), last->storage()))
               : g.call("aten.relu.default", {last}, {}, Results::tensor(f32({8, 8})));
  }
  g.output({last});
  verify(g);
  expect_round_trip(g);
  EXPECT_GT(python(g).size(), std::size_t{kNodes});
  EXPECT_EQ(g.clone().size(), g.size());
}

TEST(Scale, OneNodeWithManyUsersAndOneWithManyArguments) {
  Graph g("fan");
  Node* x = g.placeholder("x", f32({8}));
  Arg::List all;
  for (int i = 0; i < kNodes; ++i) {
    all.emplace_back(g.call("aten.relu.default", {x, x}, {}, Results::tensor(f32({8}))));
  }
  Node* cat = g.call("aten.cat.default", {all}, {}, Results::tensor(f32({8L * kNodes})));
  g.output({cat, all});
  EXPECT_EQ(x->users().size(), std::size_t{kNodes});
  verify(g);
  expect_round_trip(g);
}

TEST(Scale, ManyWeightsStoragesAndSubgraphs) {
  constexpr int kMany = 20000;
  Graph g("wide");
  std::vector<Value> values;
  for (int i = 0; i < kMany; ++i) {
    g.get_attr("layer." + std::to_string(i), f32({4}), StorageKind::kParameter);
    values.push_back({f32({4}), kNoStorage});
  }
  Node* list = g.call("my.many.default", {}, {}, Results::list(std::move(values)));
  for (int i = 0; i < kMany; ++i) (void)g.getitem(list, i);
  for (int i = 0; i < kMany; ++i) {
    g.add_subgraph("f" + std::to_string(i), parse("graph f { return () }"));
    g.call("fusion.f" + std::to_string(i), {}, {}, Results::none());
  }
  g.output({list});
  verify(g);
  expect_round_trip(g);
}

}  // namespace
}  // namespace monograph::ir
