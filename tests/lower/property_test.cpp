// Random graphs: what lowering says about each launch against a second reading of the graph, and
// plans that hold up.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "capture/ir/text.h"
#include "capture/ir/verify.h"
#include "runtime/lower/lower.h"
#include "tests/lower/graphs.h"

namespace monograph::lower {
namespace {

std::set<ir::StorageId> storages_of(const ir::Node& node) {
  std::set<ir::StorageId> ids;
  for (const ir::Value& v : node.values()) ids.insert(v.storage);
  return ids;
}

std::set<ir::StorageId> to_storages(const Lowered& lowered,
                                    const std::vector<plan::BufferId>& buffers) {
  std::set<ir::StorageId> ids;
  for (const plan::BufferId b : buffers) {
    ids.insert(lowered.storage_of[static_cast<std::size_t>(b)]);
  }
  return ids;
}

/// Walks the graph once more: a call is a launch iff it writes or defines a storage.
void expect_faithful(const ir::Graph& graph, const Lowered& lowered) {
  std::set<ir::StorageId> defined;
  std::size_t at = 0;
  for (const auto& node : graph.nodes()) {
    std::set<ir::StorageId> used;
    std::set<ir::StorageId> changed;
    for (const ir::Node* user_of : graph.node_vector()) {
      const auto& users = user_of->users();
      if (std::find(users.begin(), users.end(), node.get()) != users.end()) {
        used.merge(storages_of(*user_of));
      }
    }
    for (const ir::Node* w : node->writes()) changed.merge(storages_of(*w));
    for (const ir::StorageId s : storages_of(*node)) {
      if (defined.insert(s).second) changed.insert(s);
    }
    if (node->kind() != ir::NodeKind::kCallFunction || changed.empty()) continue;
    ASSERT_LT(at, lowered.launches.size());
    EXPECT_EQ(lowered.launches[at].node, node.get());
    const plan::Launch& launch = lowered.problem.launches[at];
    EXPECT_EQ(launch.name, node->name());
    EXPECT_EQ(to_storages(lowered, launch.reads), used) << node->name();
    EXPECT_EQ(to_storages(lowered, launch.writes), changed) << node->name();
    ++at;
  }
  EXPECT_EQ(at, lowered.launches.size());
}

TEST(RandomGraphs, LowerFaithfullyAndPlan) {
  std::mt19937_64 random(71);
  for (int i = 0; i < 300; ++i) {
    const ir::Graph graph = testing::random_graph(1 + i % 40, random);
    ASSERT_NO_THROW(ir::verify(graph)) << ir::text(graph);
    const Lowered lowered = lower(graph, {});
    expect_faithful(graph, lowered);
    ASSERT_EQ(lowered.inputs.size(), 2U);
    ASSERT_EQ(lowered.outputs.size(), 2U);
    for (const auto mode : {plan::Concurrency::kSequential, plan::Concurrency::kGraph}) {
      const plan::Plan plan = plan::make_plan(lowered.problem, mode);
      ASSERT_NO_THROW(plan::check_plan(plan)) << ir::text(graph);
      EXPECT_EQ(plan.output_count, 2);
      EXPECT_EQ(plan.input_count, 2);
    }
  }
}

TEST(RandomGraphs, ParsedCopiesLowerTheSame) {
  std::mt19937_64 random(72);
  for (int i = 0; i < 100; ++i) {
    const ir::Graph graph = testing::random_graph(20, random);
    const ir::Graph copy = ir::parse(ir::text(graph));
    EXPECT_EQ(text(lower(graph, {})), text(lower(copy, {}))) << ir::text(graph);
  }
}

}  // namespace
}  // namespace monograph::lower
