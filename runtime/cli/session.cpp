#include "runtime/cli/session.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "capture/import/safetensors.h"
#include "capture/import/safetensors_torch.h"
#include "runtime/cli/compare.h"
#include "runtime/dump/folder.h"
#include "runtime/inspect/snapshot.h"

namespace monograph::cli {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

json describe(const std::vector<TensorSpec>& specs, const char* prefix) {
  json list = json::array();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    list.push_back({{"name", fmt::format("{}_{}", prefix, i)},
                    {"argument", specs[i].name},
                    {"path", specs[i].path},
                    {"type", specs[i].to_string()}});
  }
  return list;
}

/// Stays loaded: what it registers is used to the end.
void load_plugin(const std::string& path) {
  const std::string name = path.find('/') == std::string::npos ? "./" + path : path;
  if (::dlopen(name.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) return;
  const char* why = ::dlerror();
  throw Error(Code::kInvalidFile,
              fmt::format("plugin {} can't be loaded: {}", path, why != nullptr ? why : "?"));
}

json launch_list(const Figures& f) {
  json list = json::array();
  for (const LaunchLine& l : f.lines) {
    list.push_back({{"node", l.node},
                    {"op", l.target},
                    {"kind", l.kind},
                    {"implementation", l.implementation},
                    {"reason", l.reason},
                    {"module", l.module_path},
                    {"bytes", l.bytes},
                    {"flops", l.flops},
                    {"predicted_us", l.predicted_us}});
  }
  return list;
}

}  // namespace

std::optional<Opened> open_model(const Request& request, Outcome& outcome) {
  for (const std::string& plugin : request.plugins) load_plugin(plugin);
  Opened opened{bench::select_device(request.device), {}};
  outcome.report["backend"] = opened.device.backend;
  const auto start = Clock::now();
  opened.loaded = load_model(request, opened.device);
  opened.loaded.options.dump_path = request.dump;
  outcome.report["load_ms"] = ms_since(start);
  outcome.report["kind"] = opened.loaded.kind;
  outcome.report["inputs"] = describe(opened.loaded.specs, "in");
  outcome.report["refusals"] = json::array();
  if (const auto* rejection = std::get_if<Rejection>(&opened.loaded.outcome)) {
    outcome.refuse(*rejection);
    return std::nullopt;
  }
  const Program& program = opened.program();
  outcome.report["inputs"] = describe(program.inputs(), "in");
  outcome.report["outputs"] = describe(program.outputs(), "out");
  outcome.report["nodes_traced"] = program.nodes_traced();
  if (!request.save.empty()) program.save(request.save);
  return opened;
}

Figures report_figures(const Opened& opened, Outcome& outcome) {
  Figures f = figures_of(opened.program(), opened.loaded.options);
  outcome.report.update({{"nodes", f.nodes},
                         {"launches", f.launches},
                         {"library_calls", f.library_calls},
                         {"own_kernels", f.own_kernels},
                         {"fusions", f.fusions},
                         {"aten_fallbacks", f.aten_fallbacks},
                         {"bytes", f.bytes},
                         {"flops", f.flops},
                         {"predicted_us", f.predicted_us},
                         {"predicted_us_h100", f.predicted_us_h100},
                         {"memory",
                          {{"weights", f.weight_bytes},
                           {"state", f.state_bytes},
                           {"inputs", f.input_bytes},
                           {"outputs", f.output_bytes},
                           {"arena", f.arena_bytes},
                           {"arena_lower_bound", f.arena_lower_bound}}},
                         {"ops", f.ops},
                         {"fallbacks", f.fallbacks},
                         {"fusions_taken_apart", f.expanded},
                         {"launch_list", launch_list(f)}});
  return f;
}

Executable build(const Opened& opened) {
  Executable executable = Executable::build(opened.program(), opened.loaded.options);
  const Options& options = opened.loaded.options;
  if (!options.dump_path.empty()) write_dump(executable, options.dump_path, options.name);
  return executable;
}

void write_dump(const Executable& executable, const std::string& parent, const std::string& name,
                const Times& measured_us, Times predicted_us) {
  try {
    const auto folder = dump::claim_folder(parent, dump::file_name(name));
    auto snapshot = inspect::snapshot_of(executable, name, "");
    snapshot.measured_us = measured_us;
    snapshot.predicted_us.merge(predicted_us);
    inspect::write_dump(executable, snapshot, folder.string());
    dump::write_file(folder / "report.txt", executable.report().to_string());
    fmt::print(stderr, "dump in {}\n", folder.string());
  } catch (const std::exception& error) {
    fmt::print(stderr, "warning: no dump of '{}': {}\n", name, error.what());
  }
}

double median_ms(Executable& executable, const Tensors& inputs, int repeat, Tensors& outputs) {
  std::vector<double> times;
  for (int i = 0; i < repeat; ++i) {
    const auto start = Clock::now();
    outputs = executable.replay(inputs);
    times.push_back(ms_since(start));
  }
  std::ranges::nth_element(times, times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2));
  return times[times.size() / 2];
}

Tensors read_outputs(const std::string& path) {
  const auto file = importer::SafetensorsFile::open(path);
  Tensors tensors;
  while (const auto* entry = file.find(fmt::format("out_{}", tensors.size()))) {
    tensors.push_back(importer::read_tensor(*entry));
  }
  if (tensors.empty()) throw Error(Code::kInvalidFile, path + ": holds no tensor \"out_0\"");
  return tensors;
}

void write_outputs(const std::string& path, const Tensors& outputs) {
  Tensors held;
  std::vector<importer::SafetensorsEntry> entries;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    held.push_back(outputs[i].cpu().contiguous());
    entries.push_back(importer::entry_of(fmt::format("out_{}", i), held.back()));
  }
  importer::write_safetensors(path, std::move(entries));
}

void note_difference(const Tensors& got, const Tensors& wanted, const Request& request,
                     const std::string& what, Outcome& outcome) {
  const Difference difference = compare(got, wanted, request.rtol, request.atol);
  const json& before = outcome.report["max_abs_diff"];
  outcome.report["max_abs_diff"] =
      std::max(before.is_number() ? before.get<double>() : 0, difference.max_abs);
  if (difference.complaint.empty() || outcome.exit != kOk) return;
  outcome.end(kFailed, "failed", what + ": " + difference.complaint);
}

std::string signature_text(const std::vector<TensorSpec>& specs, const char* prefix) {
  std::string text;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    text += fmt::format("  {:<7} {:<24} {} {}\n", fmt::format("{}_{}", prefix, i),
                        specs[i].to_string(), specs[i].name, specs[i].path);
  }
  return text;
}

}  // namespace monograph::cli
