#include "capture/trace/pipeline.h"

#include <algorithm>

#include "capture/passes/pass.h"

namespace monograph::trace {
namespace {

bool asks_for_fusions(const Options& options) {
  return options.passes == std::vector<std::string>{"fused"};
}

/// As exec::chosen_backend decides; a back end that is given as an object says what it wants by
/// name.
bool will_be_cuda(const Options& options, const ir::Graph& graph) {
  if (options.backend_object != nullptr) return false;
  if (options.backend != "auto") return options.backend == "cuda";
  const std::vector<ir::Node*> inputs = graph.placeholders();
  return std::any_of(inputs.begin(), inputs.end(), [](const ir::Node* n) {
    return n->has_tensor() && n->type().device.type == ir::DeviceType::kCuda;
  });
}

}  // namespace

const std::vector<std::string>& pipeline_of(const Options& options, const ir::Graph& graph) {
  check_passes(options);
  if (asks_for_fusions(options)) return passes::fused_pipeline();
  if (!options.passes.empty()) return options.passes;
  return will_be_cuda(options, graph) ? passes::fused_pipeline() : passes::default_pipeline();
}

void check_passes(const Options& options) {
  if (asks_for_fusions(options)) return;
  for (const std::string& name : options.passes) (void)passes::find_pass(name);
}

}  // namespace monograph::trace
