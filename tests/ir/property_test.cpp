// Properties over random graphs: round trips, clones, rewriting, and damaged text.
#include <random>

#include "capture/ir/python.h"
#include "capture/ir/verify.h"
#include "tests/ir/expect.h"
#include "tests/ir/random_graph.h"

namespace monograph::ir {
namespace {

using testing::expect_round_trip;
using testing::random_graph;

constexpr int kGraphs = 300;

TEST(Property, RandomGraphsVerifyAndRoundTrip) {
  for (int seed = 0; seed < kGraphs; ++seed) {
    SCOPED_TRACE(seed);
    const Graph g = random_graph(static_cast<std::uint64_t>(seed), seed % 40);
    ASSERT_NO_THROW(verify(g)) << text(g);
    expect_round_trip(g);
    ASSERT_NO_THROW(verify(parse(text(g))));
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(Property, TextIsAFunctionOfTheGraph) {
  for (int seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    const auto s = static_cast<std::uint64_t>(seed);
    const Graph g = random_graph(s, 30);
    EXPECT_EQ(text(g), text(random_graph(s, 30)));
    const Graph copy = g.clone();
    EXPECT_EQ(text(copy), text(g));
    EXPECT_EQ(copy.storages(), g.storages());
    std::string why;
    EXPECT_TRUE(same(g, copy, &why)) << why;
    EXPECT_NO_THROW(verify(copy));
  }
}

TEST(Property, OneLineOfTextIsThatLineOfTheWhole) {
  const Graph g = random_graph(7, 40);
  std::string lines = "graph " + text(g).substr(6, text(g).find('\n') - 5);
  for (const auto& node : g.nodes()) lines += "  " + text(*node) + "\n";
  EXPECT_TRUE(text(g).starts_with(lines)) << lines;
}

/// Does to `g` what passes do, at random.
void rewrite(Graph& g, std::mt19937_64& random) {
  const std::vector<Node*> nodes = g.node_vector();
  Node* node = nodes[random() % nodes.size()];
  if (node->kind() == NodeKind::kOutput) return;
  switch (random() % 3) {
    case 0:
      g.rename(node, "renamed");
      return;
    case 1:
      if (node->kind() == NodeKind::kCallFunction && node->users().empty()) g.erase(node);
      return;
    default:
      break;
  }
  // A copy in the same storage takes the node's place among all users but fusions and getitem,
  // whose types it would have to match.
  if (!node->has_tensor() || !node->type().defined()) return;
  Graph::InsertionGuard guard(g, g.next(g.placeholders().back()));
  if (node->kind() != NodeKind::kPlaceholder) g.set_insertion_point(g.next(node));
  Node* copy =
      g.call("aten.alias.default", {node}, {}, Results::tensor(node->type(), node->storage()));
  g.replace_all_uses(node, copy);
}

TEST(Property, RewritingKeepsGraphsSound) {
  for (int seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(static_cast<std::uint64_t>(seed));
    Graph g = random_graph(random(), 30);
    for (int i = 0; i < 40; ++i) rewrite(g, random);
    ASSERT_NO_THROW(verify(g)) << text(g);
    expect_round_trip(g);
  }
}

/// Cuts, copies and changes bytes of `source`.
std::string damaged(std::string source, std::mt19937_64& random) {
  for (std::uint64_t i = 1 + random() % 3; i > 0; --i) {
    const std::size_t at = random() % source.size();
    const std::size_t length = random() % 12;
    const std::string piece = source.substr(random() % source.size(), length);
    switch (random() % 4) {
      case 0:
        source[at] = static_cast<char>(random());
        break;
      case 1:
        source.erase(at, length);
        break;
      case 2:
        source.insert(at, piece);
        break;
      default:
        source.replace(at, piece.size(), piece);
        break;
    }
    if (source.empty()) return "g";
  }
  return source;
}

TEST(Property, DamagedTextIsRefusedOrStillRoundTrips) {
  std::mt19937_64 random(20240607);
  int refused = 0;
  int parsed = 0;
  for (int i = 0; i < 20000; ++i) {
    static std::string source;
    if (i % 50 == 0) source = text(random_graph(random(), 6));
    const std::string bad = damaged(source, random);
    SCOPED_TRACE(bad);
    try {
      const Graph g = parse(bad);
      ++parsed;
      expect_round_trip(g);
      (void)python(g.clone());
      verify(g);
    } catch (const Error& e) {
      ASSERT_EQ(e.code(), Code::kInvalidGraph) << e.what();
      ++refused;
    }
    ASSERT_FALSE(::testing::Test::HasFailure());
  }
  EXPECT_GT(refused, 1000);
  EXPECT_GT(parsed, 1000) << "damage must often leave text that parses, or little is tested";
}

}  // namespace
}  // namespace monograph::ir
