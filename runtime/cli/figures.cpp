#include "runtime/cli/figures.h"

#include <set>

#include "capture/ir/cost.h"
#include "capture/ir/graph.h"
#include "runtime/exec/backend.h"
#include "runtime/lower/lower.h"
#include "runtime/plan/plan.h"

namespace monograph::cli {
namespace {

lower::Chooser chooser(const exec::Backend& backend, const Options& options) {
  if (!backend.choose_for) return backend.choose;
  return backend.choose_for(backend.open_session ? backend.open_session(options) : nullptr);
}

void count(const lower::Launch& launch, Figures& figures) {
  switch (launch.kind) {
    case lower::LaunchKind::kAten:
      ++figures.aten_fallbacks;
      ++figures.fallbacks[launch.node->target()];
      break;
    case lower::LaunchKind::kLibrary:
      ++figures.library_calls;
      break;
    case lower::LaunchKind::kFusion:
      ++figures.fusions;
      ++figures.own_kernels;
      break;
    case lower::LaunchKind::kKernel:
      ++figures.own_kernels;
      break;
  }
}

}  // namespace

Figures figures_of(const Program& program, const Options& options) {
  const ir::Graph& graph = program.graph();
  const exec::Backend& backend = exec::find_backend(options.backend);
  const lower::Lowered lowered = lower::lower(graph, chooser(backend, options));
  Figures figures;
  figures.nodes = graph.size();
  figures.launches = lowered.launches.size();
  for (const lower::Launch& launch : lowered.launches) {
    count(launch, figures);
    const ir::Cost cost = ir::cost_of(*launch.node);
    figures.bytes += cost.bytes;
    figures.flops += cost.flops;
  }
  for (const auto& node : graph.nodes()) {
    if (node->kind() == ir::NodeKind::kCallFunction) ++figures.ops[node->target()];
  }
  figures.predicted_us = ir::predicted_us(graph, ir::Rates::h200());
  std::set<const void*> counted;
  for (const NamedTensor& weight : program.weights()) {
    const auto& storage = weight.tensor.storage();
    if (counted.insert(storage.unsafeGetStorageImpl()).second) {
      figures.weight_bytes += static_cast<std::int64_t>(storage.nbytes());
    }
  }
  figures.arena_bytes = plan::make_plan(lowered.problem, backend.concurrency).arena_bytes;
  return figures;
}

}  // namespace monograph::cli
