// Every pass, alone and in the pipeline, on thousands of random graphs: the results stay the same
// bit by bit, whatever memory held before.
#include "tests/passes/random_graphs.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "capture/ir/analysis.h"
#include "capture/ir/text.h"
#include "capture/ir/verify.h"
#include "capture/passes/fusion/expand.h"
#include "capture/passes/fusion/outline.h"
#include "tests/passes/interpreter.h"

namespace monograph::passes::testing {
namespace {

constexpr std::uint64_t kGraphs = 1500;

std::size_t calls_for(std::uint64_t seed) {
  return 4 + seed % 29;
}

/// Runs `passes` over random graph `seed` and compares two runs on different data, before and
/// after. Returns what differs, or an empty string; adds the number of changes by pass.
std::string difference(std::uint64_t seed, const std::vector<std::string>& passes,
                       std::map<std::string, std::int64_t>& changes, ir::Graph& graph) {
  graph = random_graph(seed, calls_for(seed));
  ir::verify(graph);
  const ir::Graph before = graph.clone();
  Contents first(2 * seed), second(2 * seed + 1);
  const std::vector<Contents*> contents{&first, &second};
  Evaluator evaluator(contents);
  PassContext context{&evaluator};
  for (const PassReport& report : run_passes(graph, passes, context)) {
    changes[report.pass] += report.changes;
  }
  ir::verify(graph);
  for (std::size_t i = 0; i < contents.size(); ++i) {
    const Outcome was = interpret(before, *contents[i], seed + 17 + i);
    const Outcome is = interpret(graph, *contents[i], seed + 99 + i);
    const bool same = was.outputs == is.outputs && was.state == is.state;
    if (!same) return fmt::format("seed {}\n{}\n{}", seed, ir::text(before), ir::text(graph));
  }
  return {};
}

TEST(RandomGraphs, AreDeterminedByTheirSeed) {
  EXPECT_EQ(ir::text(random_graph(7, 30)), ir::text(random_graph(7, 30)));
  EXPECT_NE(ir::text(random_graph(7, 30)), ir::text(random_graph(8, 30)));
}

TEST(RandomGraphs, DefineWhatTheyRead) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const ir::Graph graph = random_graph(seed, 25);
    const Contents contents(seed);
    EXPECT_EQ(interpret(graph, contents, 1).outputs, interpret(graph, contents, 2).outputs)
        << ir::text(graph);
  }
}

class EachPass : public ::testing::TestWithParam<std::string> {};

TEST_P(EachPass, PreservesResults) {
  std::map<std::string, std::int64_t> changes;
  for (std::uint64_t seed = 0; seed < kGraphs; ++seed) {
    ir::Graph graph;
    const std::string wrong = difference(seed, {GetParam()}, changes, graph);
    ASSERT_EQ(wrong, "");
  }
  // The graphs must give the pass something to do, or this test shows nothing.
  EXPECT_GT(changes[GetParam()], static_cast<std::int64_t>(kGraphs) / 10);
}

INSTANTIATE_TEST_SUITE_P(All, EachPass,
                         ::testing::Values("dead_code", "remove_noops", "functionalize",
                                           "canonical_linear", "common_subexpressions",
                                           "constant_folding", "materialize_outputs",
                                           "fuse_pointwise"),
                         [](const auto& test) { return test.param; });

TEST(Pipeline, PreservesResultsAndOwnsOutputs) {
  std::map<std::string, std::int64_t> changes;
  for (std::uint64_t seed = 0; seed < 2 * kGraphs; ++seed) {
    ir::Graph graph;
    const std::string wrong = difference(seed, default_pipeline(), changes, graph);
    ASSERT_EQ(wrong, "");
    ASSERT_EQ(graph.placeholders().size(), 2U);
    std::set<ir::StorageId> owned;
    for (const ir::Node* leaf : ir::output_leaves(graph)) {
      ASSERT_TRUE(ir::owns_storage(graph, *leaf)) << seed << "\n" << ir::text(graph);
      ASSERT_TRUE(owned.insert(leaf->storage()).second) << seed << "\n" << ir::text(graph);
    }
  }
}

TEST(FusedPipeline, PreservesResultsAndOwnsOutputs) {
  std::map<std::string, std::int64_t> changes;
  for (std::uint64_t seed = 0; seed < 2 * kGraphs; ++seed) {
    ir::Graph graph;
    const std::string wrong = difference(seed, fused_pipeline(), changes, graph);
    ASSERT_EQ(wrong, "");
    std::set<ir::StorageId> owned;
    for (const ir::Node* leaf : ir::output_leaves(graph)) {
      ASSERT_TRUE(ir::owns_storage(graph, *leaf)) << seed << "\n" << ir::text(graph);
      ASSERT_TRUE(owned.insert(leaf->storage()).second) << seed << "\n" << ir::text(graph);
    }
    std::string why;
    ASSERT_TRUE(ir::same(ir::parse(ir::text(graph)), graph, &why)) << seed << " " << why;
  }
  EXPECT_GT(changes["fuse_linear"], 100);
  EXPECT_GT(changes["fuse_pointwise"], 1000);
}

TEST(FusedPipeline, FusionsComeApartAgain) {
  for (std::uint64_t seed = 0; seed < kGraphs; ++seed) {
    ir::Graph graph = random_graph(seed, calls_for(seed));
    Contents contents(seed);
    Evaluator evaluator({&contents});
    PassContext context{&evaluator};
    run_passes(graph, fused_pipeline(), context);
    ir::Graph apart = graph.clone();
    std::vector<ir::Node*> fusions = apart.node_vector();
    std::erase_if(fusions,
                  [](const ir::Node* node) { return !node->target().starts_with("fusion."); });
    for (ir::Node* call : fusions) inline_fusion(apart, call);
    ir::verify(apart);
    for (const auto& node : apart.nodes()) EXPECT_FALSE(node->target().starts_with("fusion."));
    const Outcome was = interpret(graph, contents, 1);
    const Outcome is = interpret(apart, contents, 2);
    ASSERT_TRUE(was.outputs == is.outputs && was.state == is.state)
        << seed << "\n"
        << ir::text(graph) << ir::text(apart);
  }
}

TEST(FusedPipeline, WhatIsRefusedBecomesSmaller) {
  std::size_t apart = 0;
  std::size_t smaller = 0;
  for (std::uint64_t seed = 0; seed < kGraphs; ++seed) {
    ir::Graph graph = random_graph(seed, calls_for(seed));
    Contents contents(seed);
    Evaluator evaluator({&contents});
    PassContext context{&evaluator};
    run_passes(graph, fused_pipeline(), context);
    const Outcome was = interpret(graph, contents, 1);
    // No fusion of more than two operators, none with exp, none with several results.
    const auto refuse = [](const ir::Node& call) -> std::string {
      const ir::Graph& body = *call.graph().subgraph(call.target().substr(7));
      std::size_t operators = 0;
      for (const auto& n : body.nodes()) {
        operators += n->kind() == ir::NodeKind::kCallFunction && !ir::is_view(*n);
        if (n->target().starts_with("aten.exp.")) return "exp";
      }
      if (call.is_list()) return "several results";
      return operators > 2 ? "too large" : "";
    };
    apart += expand_fusions(graph, refuse).size();
    ir::verify(graph);
    for (const auto& n : graph.nodes()) {
      if (!n->target().starts_with("fusion.")) continue;
      ++smaller;
      ASSERT_EQ(refuse(*n), "") << ir::text(graph);
    }
    ASSERT_TRUE(expand_fusions(graph, refuse).empty());
    const Outcome is = interpret(graph, contents, 2);
    ASSERT_TRUE(was.outputs == is.outputs && was.state == is.state) << seed << ir::text(graph);
  }
  EXPECT_GT(apart, 100U);
  EXPECT_GT(smaller, 100U);
}

TEST(Pipeline, SettlesQuickly) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    ir::Graph graph = random_graph(seed, 30);
    PassContext context;
    run_passes(graph, default_pipeline(), context);
    run_passes(graph, default_pipeline(), context);
    run_passes(graph, default_pipeline(), context);
    const std::string settled = ir::text(graph);
    for (const PassReport& report : run_passes(graph, default_pipeline(), context)) {
      ASSERT_EQ(report.changes, 0) << seed << " " << report.pass << "\n" << settled;
    }
  }
}

TEST(Pipeline, SameGraphSameBytes) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    std::vector<std::string> texts;
    for (int run = 0; run < 2; ++run) {
      ir::Graph graph = random_graph(seed, 40);
      Contents contents(1);
      Evaluator evaluator({&contents});
      PassContext context{&evaluator};
      std::string text;
      for (const PassReport& report : run_passes(graph, default_pipeline(), context)) {
        text += fmt::format("{} {}\n", report.pass, fmt::join(report.notes, "\n"));
      }
      texts.push_back(text + ir::text(graph));
    }
    EXPECT_EQ(texts[0], texts[1]);
  }
}

}  // namespace
}  // namespace monograph::passes::testing
