// The graph's own interface: building, users, names, rewriting, cloning, moving.
#include "capture/ir/graph.h"

#include "capture/ir/verify.h"
#include "tests/ir/expect.h"

namespace monograph::ir {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using testing::f32;
using ::testing::IsEmpty;

/// %x, %w, %mm(x, w), %relu(mm), output(relu)
struct Mlp {
  Graph graph{"mlp"};
  Node* x = graph.placeholder("x", f32({2, 3}));
  Node* w = graph.get_attr("fc.weight", f32({3, 4}), StorageKind::kParameter);
  Node* mm = graph.call("aten.mm.default", {x, w}, {}, Results::tensor(f32({2, 4})));
  Node* relu = graph.call("aten.relu.default", {mm}, {}, Results::tensor(f32({2, 4})));
  Node* out = graph.output({relu});
};

std::vector<std::string> names(const Graph& graph) {
  std::vector<std::string> all;
  for (const auto& n : graph.nodes()) all.push_back(n->name());
  return all;
}

TEST(Graph, KeepsNodesInOrderWithTheirStorages) {
  const Mlp m;
  EXPECT_THAT(names(m.graph), ElementsAre("x", "fc_weight", "mm", "relu", "output"));
  EXPECT_EQ(m.w->target(), "fc.weight");
  EXPECT_EQ(m.graph.storage(m.w->storage()),
            (Storage{m.w->storage(), StorageKind::kParameter, "fc.weight", 48, {}}));
  EXPECT_EQ(m.graph.storage(m.x->storage()).kind, StorageKind::kInput);
  EXPECT_EQ(m.graph.storage(m.mm->storage()).nbytes, 32);
  EXPECT_NE(m.mm->storage(), m.relu->storage());
  EXPECT_EQ(m.graph.output_node(), m.out);
  EXPECT_EQ(m.graph.find("mm"), m.mm);
  EXPECT_EQ(m.graph.find("m"), nullptr);
  EXPECT_EQ(m.graph.next(m.mm), m.relu);
  EXPECT_EQ(m.graph.prev(m.x), nullptr);
  EXPECT_EQ(m.graph.next(m.out), nullptr);
  EXPECT_NO_THROW(verify(m.graph));
}

TEST(Graph, ListsEachUserOnceByCreation) {
  Mlp m;
  Node* cat = m.graph.call("aten.cat.default", {Arg::List{m.mm, m.mm, m.relu}, 0}, {{"k", m.mm}},
                           Results::tensor(f32({6, 4})), {m.mm});
  EXPECT_THAT(m.mm->users(), ElementsAre(m.relu, cat));
  EXPECT_THAT(m.relu->users(), ElementsAre(m.out, cat));
  m.graph.set_args(cat, {Arg::List{m.relu}}, {});
  EXPECT_THAT(m.mm->users(), ElementsAre(m.relu, cat)) << "it still writes mm";
  m.graph.set_writes(cat, {});
  EXPECT_THAT(m.mm->users(), ElementsAre(m.relu));
  m.graph.set_writes(cat, {m.x});
  EXPECT_THAT(m.x->users(), ElementsAre(m.mm, cat));
}

TEST(Graph, ReplacesUsesInArgsKwargsListsAndWrites) {
  Mlp m;
  Node* other = m.graph.call("aten.add_.Tensor", {Arg::List{Arg::List{m.mm}}, 1.5}, {{"b", m.mm}},
                             Results::tensor(f32({2, 4}), m.mm->storage()), {m.mm});
  Node* neg = m.graph.call("aten.neg.default", {m.mm}, {}, Results::tensor(f32({2, 4})));
  m.graph.replace_all_uses(m.mm, neg);
  EXPECT_THAT(neg->args(), ElementsAre(Arg(m.mm))) << "the replacement itself keeps its argument";
  EXPECT_THAT(m.mm->users(), ElementsAre(neg));
  EXPECT_THAT(neg->users(), ElementsAre(m.relu, other));
  EXPECT_THAT(other->args(), ElementsAre(Arg(Arg::List{Arg::List{neg}}), Arg(1.5)));
  EXPECT_EQ(*other->kwarg("b"), Arg(neg));
  EXPECT_THAT(other->writes(), ElementsAre(neg));
  m.graph.replace_all_uses(neg, neg);
  EXPECT_THAT(neg->users(), ElementsAre(m.relu, other));
}

TEST(Graph, InsertsAtThePointAndRestoresIt) {
  Mlp m;
  {
    Graph::InsertionGuard guard(m.graph, m.relu);
    Node* a = m.graph.call("aten.neg.default", {m.mm}, {}, Results::tensor(f32({2, 4})));
    m.graph.call("aten.neg.default", {a}, {}, Results::tensor(f32({2, 4})));
    EXPECT_EQ(m.graph.insertion_point(), m.relu);
  }
  EXPECT_EQ(m.graph.insertion_point(), nullptr);
  EXPECT_THAT(names(m.graph),
              ElementsAre("x", "fc_weight", "mm", "neg", "neg_1", "relu", "output"));
}

TEST(Graph, KeepsTheInsertionPointValidWhenItsNodeIsErased) {
  Mlp m;
  Node* neg = m.graph.call("aten.neg.default", {m.mm}, {}, Results::tensor(f32({2, 4})));
  m.graph.move_before(neg, m.relu);
  m.graph.set_insertion_point(neg);
  m.graph.erase(neg);
  EXPECT_EQ(m.graph.insertion_point(), m.relu);
}

TEST(Graph, ErasesOnlyWhatNobodyUses) {
  Mlp m;
  const auto error = error_of([&] { m.graph.erase(m.mm); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), Code::kInternal);
  EXPECT_EQ(error->node(), "mm");
  m.graph.erase(m.out);
  EXPECT_EQ(m.graph.output_node(), nullptr);
  m.graph.erase(m.relu);
  EXPECT_THAT(m.mm->users(), IsEmpty());
  m.graph.erase(m.mm);
  EXPECT_THAT(m.x->users(), IsEmpty());
  EXPECT_EQ(m.graph.find("mm"), nullptr);
  EXPECT_THAT(names(m.graph), ElementsAre("x", "fc_weight"));
}

TEST(Graph, MakesNamesUniqueAndPrintable) {
  Graph g;
  EXPECT_EQ(g.placeholder("a.b", f32({}))->name(), "a_b");
  EXPECT_EQ(g.placeholder("a_b", f32({}))->name(), "a_b_1");
  EXPECT_EQ(g.placeholder("a_b_2", f32({}))->name(), "a_b_2");
  EXPECT_EQ(g.placeholder("a b", f32({}))->name(), "a_b_3");
  EXPECT_EQ(g.placeholder("0", f32({}))->name(), "_0");
  EXPECT_FALSE(g.placeholder("", f32({}))->name().empty());
  Node* x = g.find("a_b");
  g.rename(x, "a_b_2");
  EXPECT_NE(x->name(), "a_b_2") << "taken";
  EXPECT_EQ(g.find("a_b"), nullptr);
  EXPECT_EQ(g.find(x->name()), x);
}

TEST(Graph, GivesGetitemTheElementItself) {
  Graph g;
  Node* x = g.placeholder("x", f32({4}));
  TensorType half = f32({2});
  half.offset = 2;
  Node* split = g.call("aten.split.Tensor", {x, 2}, {},
                       Results::list({{f32({2}), x->storage()}, {half, x->storage()}}));
  Node* second = g.getitem(split, 1);
  EXPECT_EQ(second->value(), split->values()[1]);
  EXPECT_TRUE(is_view(*second));
  EXPECT_TRUE(is_view(*split));
  EXPECT_THROW(g.getitem(split, 2), Error);
  EXPECT_THROW(g.getitem(split, -1), Error);
  EXPECT_THROW(g.getitem(x, 0), Error);
  EXPECT_THROW((void)split->value(), Error) << "a list has no single tensor";
}

TEST(Graph, TellsViewsFromNewTensorsAndWrites) {
  Mlp m;
  Node* t = m.graph.call("aten.t.default", {m.w}, {}, Results::tensor(f32({4, 3}), m.w->storage()));
  Node* add = m.graph.call("aten.add_.Tensor", {m.mm, 1}, {},
                           Results::tensor(f32({2, 4}), m.mm->storage()), {m.mm});
  EXPECT_TRUE(is_view(*t));
  EXPECT_FALSE(is_view(*add));
  EXPECT_FALSE(is_view(*m.mm));
  EXPECT_FALSE(is_view(*m.w));
  EXPECT_EQ(storage_root(m.graph, t->storage()), m.w);
  EXPECT_EQ(storage_root(m.graph, 99), nullptr);
}

TEST(Graph, AllowsOneOutput) {
  Mlp m;
  EXPECT_THROW(m.graph.output({m.mm}), Error);
}

TEST(Graph, ClonesDeeply) {
  Mlp m;
  m.relu->module_path = "act";
  m.graph.add_subgraph("f", Graph("f"));
  Graph copy = m.graph.clone();
  std::string why;
  ASSERT_TRUE(same(m.graph, copy, &why)) << why;
  EXPECT_EQ(copy.storages(), m.graph.storages());
  EXPECT_NE(copy.find("mm"), m.mm);
  EXPECT_EQ(&copy.find("mm")->graph(), &copy);
  EXPECT_THAT(copy.find("mm")->users(), ElementsAre(copy.find("relu")));
  copy.rename(copy.find("mm"), "changed");
  copy.find("relu")->module_path = "other";
  EXPECT_EQ(m.mm->name(), "mm");
  EXPECT_EQ(m.relu->module_path, "act");
  EXPECT_FALSE(same(m.graph, copy));
}

TEST(Graph, MovesWithItsNodes) {
  Mlp m;
  const Node* mm = m.mm;
  Graph moved = std::move(m.graph);
  EXPECT_EQ(moved.find("mm"), mm);
  EXPECT_EQ(&mm->graph(), &moved);
  EXPECT_NO_THROW(verify(moved));
  Graph assigned("old");
  assigned.placeholder("y", f32({}));
  assigned = std::move(moved);
  EXPECT_EQ(&mm->graph(), &assigned);
  EXPECT_EQ(assigned.find("y"), nullptr);
  EXPECT_NO_THROW(verify(assigned));
}

TEST(Graph, HoldsSubgraphsByName) {
  Graph g;
  g.add_subgraph("f", Graph("inner"));
  EXPECT_EQ(g.subgraph("f")->name(), "f");
  EXPECT_EQ(g.subgraph("g"), nullptr);
  EXPECT_THROW(g.add_subgraph("f", Graph()), Error);
  g.erase_subgraph("f");
  EXPECT_EQ(g.subgraph("f"), nullptr);
}

TEST(Graph, GrowsStoragesButNeverShrinksThem) {
  Mlp m;
  m.graph.grow_storage(m.mm->storage(), 100);
  m.graph.grow_storage(m.mm->storage(), 50);
  EXPECT_EQ(m.graph.storage(m.mm->storage()).nbytes, 100);
  EXPECT_THROW((void)m.graph.storage(99), Error);
  EXPECT_THROW((void)m.graph.storage(-1), Error);
}

TEST(Arg, ComparesDoublesByBits) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(Arg(nan), Arg(nan));
  EXPECT_FALSE(Arg(0.0) == Arg(-0.0));
  EXPECT_FALSE(Arg(1.0) == Arg(1));
  EXPECT_FALSE(Arg(true) == Arg(1));
  EXPECT_EQ(Arg(std::complex<double>(nan, 1)), Arg(std::complex<double>(nan, 1)));
  EXPECT_FALSE(Arg(std::complex<double>(0.0, 0.0)) == Arg(std::complex<double>(0.0, -0.0)));
  EXPECT_EQ(Arg(Arg::List{nan, Arg::List{}}), Arg(Arg::List{nan, Arg::List{}}));
  EXPECT_FALSE(Arg(Arg::List{}) == Arg());
}

}  // namespace
}  // namespace monograph::ir
