#include "runtime/cli/figures.h"

#include <string_view>

#include "capture/ir/cost.h"
#include "capture/ir/graph.h"
#include "runtime/exec/plan_program.h"

namespace monograph::cli {
namespace {

constexpr std::string_view kFusionPrefix = "fusion.";

bool is_fusion(const ir::Node& node) {
  return node.target().starts_with(kFusionPrefix);
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
    case lower::LaunchKind::kKernel:
      ++figures.own_kernels;
      break;
  }
  if (is_fusion(*launch.node)) ++figures.fusions;
}

LaunchLine line_of(const lower::Launch& launch) {
  return {launch.node->name(),
          launch.node->target(),
          std::string(lower::launch_kind_name(launch.kind)),
          launch.implementation,
          launch.reason,
          launch.node->module_path,
          launch.cost.bytes,
          launch.cost.flops,
          ir::work_us(launch.cost, ir::Rates::h200())};
}

/// Calls by operator; each call of a fusion counts as what is in it.
void count_ops(const ir::Graph& graph, std::map<std::string, std::size_t>& ops) {
  for (const auto& node : graph.nodes()) {
    if (node->kind() != ir::NodeKind::kCallFunction) continue;
    const auto body = is_fusion(*node)
                          ? graph.subgraphs().find(node->target().substr(kFusionPrefix.size()))
                          : graph.subgraphs().end();
    if (body != graph.subgraphs().end()) {
      count_ops(*body->second, ops);
    } else {
      ++ops[node->target()];
    }
  }
}

void add_memory(const plan::Plan& plan, Figures& figures) {
  for (const plan::Buffer& buffer : plan.problem.buffers) {
    switch (buffer.kind) {
      case plan::BufferKind::kInput:
        figures.input_bytes += buffer.bytes;
        break;
      case plan::BufferKind::kOutput:
        figures.output_bytes += buffer.bytes;
        break;
      case plan::BufferKind::kWeight:
        figures.weight_bytes += buffer.bytes;
        break;
      case plan::BufferKind::kState:
        figures.state_bytes += buffer.bytes;
        break;
      case plan::BufferKind::kIntermediate:
        break;
    }
  }
  figures.arena_bytes = plan.arena_bytes;
  figures.arena_lower_bound = plan.lower_bound_bytes;
}

}  // namespace

Figures figures_of(const Program& program, const Options& options) {
  const exec::Planned planned = exec::plan_only(program, options);
  Figures figures;
  figures.nodes = planned.graph->size();
  figures.launches = planned.lowered.launches.size();
  figures.expanded = planned.expanded;
  const ir::Rates h200 = ir::Rates::h200();
  const ir::Rates h100 = ir::Rates::h100();
  for (const lower::Launch& launch : planned.lowered.launches) {
    count(launch, figures);
    figures.bytes += launch.cost.bytes;
    figures.flops += launch.cost.flops;
    figures.predicted_us += ir::work_us(launch.cost, h200) + h200.boundary_us;
    figures.predicted_us_h100 += ir::work_us(launch.cost, h100) + h100.boundary_us;
    figures.lines.push_back(line_of(launch));
  }
  count_ops(*planned.graph, figures.ops);
  add_memory(planned.plan, figures);
  return figures;
}

}  // namespace monograph::cli
