// The ordered list of passes and the loop that runs it.
#include <fmt/format.h>
#include <monograph/error.h>

#include <chrono>

#include "capture/ir/verify.h"
#include "capture/passes/pass.h"

namespace monograph::passes {
namespace {

void verify_after(const ir::Graph& graph, const std::string& pass) {
  try {
    ir::verify(graph);
  } catch (const Error& e) {
    throw Error(Code::kInternal,
                fmt::format("pass {} left an invalid graph: {}", pass, e.message()), e.node());
  }
}

PassReport run_one(ir::Graph& graph, const Pass& pass, PassContext& context) {
  const std::size_t before = graph.size();
  const auto start = std::chrono::steady_clock::now();
  PassReport report = pass.run(graph, context);
  const std::chrono::duration<double, std::milli> elapsed =
      std::chrono::steady_clock::now() - start;
  report.pass = pass.name;
  report.nodes_before = before;
  report.nodes_after = graph.size();
  report.milliseconds = elapsed.count();
  return report;
}

}  // namespace

const std::vector<std::string>& default_pipeline() {
  // Unused branches go first, since they would keep writes from being rewritten; copies are looked
  // at again once no writes are left in their way; equal calls are merged before folding, so that
  // a constant is computed and kept once; outputs come last, since every other pass may alias.
  static const std::vector<std::string> names{
      "dead_code",        "remove_noops",     "functionalize",
      "remove_noops",     "canonical_linear", "common_subexpressions",
      "constant_folding", "dead_code",        "materialize_outputs"};
  return names;
}

const std::vector<std::string>& fused_pipeline() {
  // Patterns are looked for once linear layers have their usual form, and before anything is folded
  // that tells how a mask was made. Layers are packed when nothing unused looks at their weights.
  // Batch norms are folded before convolutions that cut into patches become linear layers.
  // Convolutions are turned once their weights are what they will be, which folding then turns.
  // Outputs get storages of their own before fusions take in the copies. Attention and products
  // come first among fusions, since they decide what pointwise work goes where.
  static const std::vector<std::string> names{"dead_code",
                                              "remove_noops",
                                              "functionalize",
                                              "remove_noops",
                                              "outer_products",
                                              "canonical_linear",
                                              "common_subexpressions",
                                              "attention",
                                              "rms_norm",
                                              "fold_batch_norm",
                                              "patch_convolution",
                                              "static_fills",
                                              "dead_code",
                                              "pack_linears",
                                              "constant_folding",
                                              "channels_last",
                                              "constant_folding",
                                              "dead_code",
                                              "materialize_outputs",
                                              "fuse_attention",
                                              "fuse_cached_attention",
                                              "fuse_linear",
                                              "fuse_heads",
                                              "fuse_convolution",
                                              "fuse_reductions",
                                              "fuse_pointwise",
                                              "dead_code"};
  return names;
}

std::vector<PassReport> run_passes(ir::Graph& graph, const std::vector<std::string>& names,
                                   PassContext& context, const Observer& observer) {
  std::vector<const Pass*> passes;
  passes.reserve(names.size());
  for (const std::string& name : names) passes.push_back(&find_pass(name));
  if (observer) observer(graph, {});
  std::vector<PassReport> reports;
  for (const Pass* pass : passes) {
    reports.push_back(run_one(graph, *pass, context));
    if (reports.back().changes == 0) continue;
    verify_after(graph, pass->name);
    if (observer) observer(graph, reports.back());
  }
  return reports;
}

}  // namespace monograph::passes
