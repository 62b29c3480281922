#include "runtime/inspect/snapshot.h"

#include <utility>

#include "runtime/dump/write.h"
#include "runtime/exec/executable_impl.h"

namespace monograph::inspect {

dump::Snapshot snapshot_of(const Executable& executable, std::string module, std::string key) {
  const Executable::Impl& impl = executable.impl();
  const Report& report = impl.report();
  dump::Snapshot s;
  s.module = std::move(module);
  s.key = std::move(key);
  s.backend = report.backend;
  s.nodes_traced = report.nodes_traced;
  s.weight_bytes = report.weight_bytes;
  s.trace_ms = report.trace_ms;
  s.passes_ms = report.passes_ms;
  s.build_ms = report.build_ms;
  for (const auto& [name, text] : impl.program().stages()) s.stages.push_back({name, text});
  for (const PassSummary& p : report.passes) {
    s.passes.push_back({p.name, p.changes, p.nodes_before, p.nodes_after, p.milliseconds, {}});
  }
  s.graph = &impl.program().graph();
  s.lowered = &impl.planned().lowered;
  s.plan = &impl.planned().plan;
  if (s.backend == "cuda") {  // predictions are a device's
    for (const lower::Launch& launch : s.lowered->launches) {
      s.predicted_us[launch.node->name()] = launch.predicted_us;
    }
  }
  for (const std::string& stage : impl.runner().dump_stages()) {
    s.backend_texts.push_back({stage, impl.runner().dump(stage)});
  }
  for (exec::KernelSource& source : impl.runner().sources()) {
    s.sources.push_back({std::move(source.name), std::move(source.text), std::move(source.nodes)});
  }
  s.allocating = report.allocating_launches;
  return s;
}

bool write_dump(const Executable& executable, const dump::Snapshot& snapshot,
                const std::string& folder) {
  // Writes the texts of the stages, too, so they aren't written twice.
  if (!executable.program().dump(folder)) return false;
  dump::write(snapshot, folder, {.stage_texts = false});
  return true;
}

}  // namespace monograph::inspect
