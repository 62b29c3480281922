// How many launches real models come to. The graphs in tests/passes/models were printed by
// tests/models/print_graph from the C++ modules in bench/models: two layers of each (the MLP: all
// eight), the sizes of the real models apart from the vocabulary.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "capture/ir/analysis.h"
#include "capture/ir/cost.h"
#include "capture/ir/text.h"
#include "capture/ir/verify.h"
#include "capture/passes/pass.h"

namespace monograph::passes::testing {
namespace {

/// Agrees to keep any constant, without computing it: sizes and names are all that counts here.
class AgreeableEvaluator : public ConstantEvaluator {
 public:
  std::optional<std::vector<FoldedConstant>> evaluate(const ir::Node& node) override {
    std::vector<FoldedConstant> constants;
    for (const ir::Value& v : node.values()) {
      constants.push_back({fmt::format("folded_{}", made_++), v.type, v.type.storage_extent()});
    }
    return constants;
  }

 private:
  int made_ = 0;
};

ir::Graph read_model(const std::string& name) {
  std::ifstream file(std::string(MONOGRAPH_TEST_GRAPHS) + "/" + name + ".txt");
  EXPECT_TRUE(file.good()) << name;
  std::stringstream text;
  text << file.rdbuf();
  return ir::parse(text.str());
}

struct Optimised {
  ir::Graph graph;
  std::string notes;
};

Optimised optimise(const std::string& name, const std::vector<std::string>& pipeline) {
  Optimised o{read_model(name), {}};
  ir::verify(o.graph);
  AgreeableEvaluator evaluator;
  PassContext context{&evaluator};
  for (const PassReport& r : run_passes(o.graph, pipeline, context)) {
    for (const std::string& note : r.notes) o.notes += fmt::format("{}: {}\n", r.pass, note);
  }
  return o;
}

/// Targets of the launches of nodes whose module path begins with `path`.
std::vector<std::string> launches(const ir::Graph& graph, const std::string& path = {}) {
  std::vector<std::string> targets;
  for (const auto& node : graph.nodes()) {
    if (node->kind() == ir::NodeKind::kCallFunction && !ir::is_view(*node) &&
        node->module_path.starts_with(path)) {
      targets.push_back(node->target());
    }
  }
  return targets;
}

/// Launches of a model of `layers` layers like the second one of this graph.
std::size_t whole(const ir::Graph& graph, const std::string& layer, std::size_t layers) {
  return launches(graph).size() + (layers - 2) * launches(graph, layer).size();
}

class Llama : public ::testing::TestWithParam<std::string> {};

TEST_P(Llama, LayerInFiveLaunchesAndStepIn84) {
  const Optimised o = optimise(GetParam(), fused_pipeline());
  const std::vector<std::string> layer = launches(o.graph, "model.layers.1");
  EXPECT_LE(layer.size(), 5U) << fmt::format("{}\n{}", fmt::join(layer, "\n"), o.notes);
  EXPECT_LE(whole(o.graph, "model.layers.1", 16), 84U) << o.notes;
}

INSTANTIATE_TEST_SUITE_P(Models, Llama, ::testing::Values("llama_1b", "llama_1b_explicit"),
                         [](const auto& test) { return test.param; });

TEST(Models, QwenLayerInFiveLaunches) {
  const Optimised o = optimise("qwen3_0_6b", fused_pipeline());
  const std::vector<std::string> layer = launches(o.graph, "model.layers.1");
  EXPECT_LE(layer.size(), 5U) << fmt::format("{}\n{}", fmt::join(layer, "\n"), o.notes);
}

class Bert : public ::testing::TestWithParam<std::string> {};

TEST_P(Bert, LayerInSevenLaunches) {
  const Optimised o = optimise(GetParam(), fused_pipeline());
  // The last norm of the second layer goes with the pooling, so the first layer is the typical one.
  const std::vector<std::string> layer = launches(o.graph, "encoder.layer.0");
  EXPECT_LE(layer.size(), 7U) << fmt::format("{}\n{}", fmt::join(layer, "\n"), o.notes);
  EXPECT_LE(whole(o.graph, "encoder.layer.0", 12), 89U)
      << fmt::format("{}", fmt::join(launches(o.graph), "\n"));
}

INSTANTIATE_TEST_SUITE_P(Models, Bert, ::testing::Values("bert_base", "bert_base_explicit"),
                         [](const auto& test) { return test.param; });

TEST(Models, MlpOneLaunchALayer) {
  const Optimised o = optimise("mlp", fused_pipeline());
  EXPECT_EQ(launches(o.graph).size(), 8U) << o.notes;
}

TEST(Models, PredictedTimeNeverRises) {
  for (const char* name :
       {"llama_1b", "llama_1b_explicit", "qwen3_0_6b", "bert_base", "bert_base_explicit", "mlp"}) {
    ir::Graph graph = read_model(name);
    AgreeableEvaluator evaluator;
    PassContext context{&evaluator};
    for (const ir::Rates& rates : {ir::Rates::h200(), ir::Rates::h100()}) {
      const double as_traced = ir::predicted_us(graph, rates);
      double before = as_traced;
      for (const std::string& pass : fused_pipeline()) {
        run_passes(graph, {pass}, context);
        const double after = ir::predicted_us(graph, rates);
        // Others prepare: what attention makes of a mask is folded only later.
        if (pass.starts_with("fuse_")) {
          EXPECT_LE(after, before) << name << " " << pass;
        }
        before = after;
      }
      EXPECT_LE(before, as_traced) << name;
    }
  }
}

TEST(Models, SameGraphSameBytes) {
  for (const char* name : {"llama_1b_explicit", "bert_base_explicit"}) {
    const Optimised one = optimise(name, fused_pipeline());
    const Optimised two = optimise(name, fused_pipeline());
    EXPECT_EQ(ir::text(one.graph), ir::text(two.graph));
    EXPECT_EQ(one.notes, two.notes);
  }
}

}  // namespace
}  // namespace monograph::passes::testing
