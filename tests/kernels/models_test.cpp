// Every launch of the fused graphs of real models finds a kernel of ours, with the reasons where it
// does not.
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <optional>
#include <regex>
#include <sstream>

#include "capture/ir/text.h"
#include "capture/passes/pass.h"
#include "kernels/compile/compiler.h"
#include "kernels/registry.h"
#include "runtime/cuda/backend/convert_call.h"
#include "tests/kernels/types_only.h"

namespace kernels_test {
namespace {

using namespace monograph;

struct Lowered {
  int launches = 0;
  std::map<std::string, int> kernels;
  std::map<std::string, kernels::Instance> distinct;  ///< by source text
  std::string refused;  ///< operator and reason of each launch without a kernel
};

/// `halves`: with f16 in place of f32.
Lowered lower(const std::string& model, bool halves = false) {
  std::ifstream file(std::string(MODELS) + "/" + model + ".txt");
  std::stringstream stream;
  stream << file.rdbuf();
  const std::string text = stream.str();
  ir::Graph graph =
      ir::parse(halves ? std::regex_replace(text, std::regex("f32\\["), "f16[") : text);
  TypesOnly folder;
  passes::PassContext context{&folder};
  passes::run_passes(graph, passes::fused_pipeline(), context);
  Lowered out;
  for (const auto& node : graph.nodes()) {
    if (node->kind() != ir::NodeKind::kCallFunction || ir::is_view(*node)) continue;
    ++out.launches;
    std::string why;
    const auto call = cuda::to_kernel_call(*node, &why);
    const kernels::Match match =
        call ? kernels::select(call->call, kernels::Target{}) : kernels::Match::no(why);
    if (match.instance) {
      ++out.kernels[match.instance->kernel];
      out.distinct.emplace(match.instance->text, *match.instance);
    } else {
      out.refused += node->target() + ": " + match.reason + "\n";
    }
  }
  for (const auto& [name, count] : out.kernels) std::printf("%4d %s\n", count, name.c_str());
  std::printf("%4d launches of %zu distinct kernels\n%s", out.launches, out.distinct.size(),
              out.refused.c_str());
  return out;
}

TEST(Models, ADecodingStepOfLlamaRunsOnOurKernelsAlone) {
  const Lowered l = lower("llama_1b");  // two layers
  EXPECT_EQ(l.refused, "");
  EXPECT_LE(l.launches, 2 * 5 + 4);
  EXPECT_EQ(l.kernels.at("tiles"), 2 * 4 + 1);
  EXPECT_EQ(l.kernels.at("attention"), 2);
}

TEST(Models, ADecodingStepOfQwenRunsOnOurKernelsAlone) {
  const Lowered l = lower("qwen3_0_6b");  // two layers
  EXPECT_EQ(l.refused, "");
  EXPECT_LE(l.launches, 2 * 5 + 4);
}

/// The layers of a model share their kernels, so that of two layers is what the whole model takes.
TEST(Models, TheKernelsOfLlamaAreFewAndDontSpill) {
  const Lowered l = lower("llama_1b");
  EXPECT_LE(l.distinct.size(), 40u);
  const kernels::Compiler compiler("none", 1);
  double milliseconds = 0;
  for (const auto& [text, instance] : l.distinct) {
    const kernels::Compiled c = compiler.compile(instance, "sm_90");
    std::printf("%7.1f ms %4d registers  %s\n", c.milliseconds, c.resources.registers,
                instance.entry.c_str());
    EXPECT_EQ(c.resources.spill_stores + c.resources.spill_loads, 0) << text;
    EXPECT_LE(c.resources.registers, instance.register_budget) << text;
    milliseconds += c.milliseconds;
  }
  std::printf("%7.1f ms a kernel\n", milliseconds / static_cast<double>(l.distinct.size()));
}

TEST(Models, AnEncoderLeavesOnlyItsProductsToTheLibrary) {
  const Lowered l = lower("bert_base");
  std::istringstream lines(l.refused);
  for (std::string line; std::getline(lines, line);) {
    // The last one scales sentences to length one.
    const bool expected =
        line.find("linear") != std::string::npos || line.starts_with("aten.norm.");
    EXPECT_TRUE(expected) << line;
  }
  EXPECT_GE(l.kernels.at("attention"), 1);
}

TEST(Models, AttentionOfHalvesIsDoneOnTheTensorCores) {
  const Lowered l = lower("bert_base", true);
  EXPECT_EQ(l.kernels.count("attention"), 0u);
  EXPECT_GE(l.kernels.at("prefill_attention"), 1);
}

TEST(Models, AnMlpRunsOnOurKernelsAlone) {
  EXPECT_EQ(lower("mlp").refused, "");
}

}  // namespace
}  // namespace kernels_test
