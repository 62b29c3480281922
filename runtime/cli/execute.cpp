#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <monograph/executable.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "bench/minilm/device.h"
#include "capture/import/safetensors.h"
#include "capture/import/safetensors_torch.h"
#include "runtime/cli/compare.h"
#include "runtime/cli/figures.h"
#include "runtime/cli/inputs.h"
#include "runtime/cli/model.h"
#include "runtime/cli/request.h"

namespace monograph::cli {
namespace {

using nlohmann::json;

/// What a command found out; the JSON file is this.
struct Outcome {
  int exit = kOk;
  json report = json::object();

  void end(int code, const std::string& status, const std::string& reason) {
    exit = code;
    report["status"] = status;
    report["reason"] = reason;
  }
};

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

void show(const std::vector<TensorSpec>& specs, const char* prefix) {
  for (std::size_t i = 0; i < specs.size(); ++i) {
    fmt::print("  {}_{:<4} {:<24} {} {}\n", prefix, i, specs[i].to_string(), specs[i].name,
               specs[i].path);
  }
}

std::vector<at::Tensor> read_expected(const std::string& path) {
  const auto file = importer::SafetensorsFile::open(path);
  std::vector<at::Tensor> tensors;
  while (const auto* entry = file.find(fmt::format("out_{}", tensors.size()))) {
    tensors.push_back(importer::read_tensor(*entry));
  }
  if (tensors.empty()) throw Error(Code::kInvalidFile, path + ": holds no tensor \"out_0\"");
  return tensors;
}

void write_outputs(const std::string& path, const std::vector<at::Tensor>& outputs) {
  std::vector<at::Tensor> held;
  std::vector<importer::SafetensorsEntry> entries;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    held.push_back(outputs[i].cpu().contiguous());
    entries.push_back(importer::entry_of(fmt::format("out_{}", i), held.back()));
  }
  importer::write_safetensors(path, std::move(entries));
}

void note_difference(const Difference& difference, Outcome& outcome) {
  const json& before = outcome.report["max_abs_diff"];
  const double most = std::max(before.is_number() ? before.get<double>() : 0, difference.max_abs);
  outcome.report["max_abs_diff"] = most;
  if (!difference.complaint.empty()) outcome.end(kFailed, "failed", difference.complaint);
}

void refuse(const Rejection& rejection, Outcome& outcome) {
  const bool unsupported = rejection.code == Code::kRejectedUnsupportedOp;
  outcome.end(unsupported ? kUnsupported : kRefused, unsupported ? "unsupported" : "refused",
              rejection.reason);
  outcome.report["code"] = code_name(rejection.code);
  outcome.report["op"] = rejection.op;
  outcome.report["node"] = rejection.node;
  outcome.report["module"] = rejection.module_path;
  outcome.report["remedy"] = rejection.remedy;
  fmt::print("{}\n", rejection.to_string());
}

void report_figures(const Program& program, const Options& options, Outcome& outcome) {
  const Figures f = figures_of(program, options);
  outcome.report.update({{"nodes", f.nodes},
                         {"launches", f.launches},
                         {"library_calls", f.library_calls},
                         {"own_kernels", f.own_kernels},
                         {"fusions", f.fusions},
                         {"aten_fallbacks", f.aten_fallbacks},
                         {"bytes", f.bytes},
                         {"flops", f.flops},
                         {"predicted_us", f.predicted_us},
                         {"weight_bytes", f.weight_bytes},
                         {"arena_bytes", f.arena_bytes},
                         {"ops", f.ops},
                         {"fallbacks", f.fallbacks}});
}

void print_figures(const json& r) {
  fmt::print(
      "{} nodes, {} launches: {} library calls, {} own kernels ({} fusions), {} of "
      "LibTorch's\n",
      r["nodes"].get<int>(), r["launches"].get<int>(), r["library_calls"].get<int>(),
      r["own_kernels"].get<int>(), r["fusions"].get<int>(), r["aten_fallbacks"].get<int>());
  constexpr double kMiB = 1 << 20;
  fmt::print(
      "memory: weights {:.1f} MiB, arena {:.1f} MiB; a replay moves {:.1f} MiB and computes "
      "{:.2f} GFLOP in matrix products; predicted on one H200: {:.1f} us\n",
      r["weight_bytes"].get<double>() / kMiB, r["arena_bytes"].get<double>() / kMiB,
      r["bytes"].get<double>() / kMiB, r["flops"].get<double>() / 1e9,
      r["predicted_us"].get<double>());
}

void inspect(const Loaded& loaded, const Program& program, Outcome& outcome) {
  fmt::print("{}: {} nodes traced\ninputs\n", loaded.kind, program.nodes_traced());
  show(program.inputs(), "in");
  fmt::print("outputs\n");
  show(program.outputs(), "out");
  report_figures(program, loaded.options, outcome);
  print_figures(outcome.report);
  fmt::print("operators (* runs as LibTorch's kernel)\n");
  for (const auto& [target, count] : outcome.report["ops"].items()) {
    const bool fallback = outcome.report["fallbacks"].contains(target);
    fmt::print("  {:>5} {}{}\n", count.get<int>(), target, fallback ? " *" : "");
  }
}

double median_ms(Executable& executable, const std::vector<at::Tensor>& inputs, int repeat,
                 std::vector<at::Tensor>& outputs) {
  std::vector<double> times;
  for (int i = 0; i < repeat; ++i) {
    const auto start = std::chrono::steady_clock::now();
    outputs = executable.replay(inputs);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    times.push_back(took.count());
  }
  std::ranges::nth_element(times, times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2));
  return times[times.size() / 2];
}

void run(const Request& request, const Loaded& loaded, const Program& program, Outcome& outcome) {
  Executable executable = Executable::build(program, loaded.options);
  report_figures(program, loaded.options, outcome);
  std::vector<at::Tensor> outputs;
  outcome.report["replay_ms"] = median_ms(executable, loaded.inputs, request.repeat, outputs);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    fmt::print("out_{:<4} {}\n", i, program.outputs()[i].to_string());
  }
  fmt::print("{} launches, {:.3f} ms\n", executable.report().launches,
             outcome.report["replay_ms"].get<double>());
  if (!request.output.empty()) write_outputs(request.output, outputs);
  if (!request.compare.empty()) {
    note_difference(compare(outputs, read_expected(request.compare), request.rtol, request.atol),
                    outcome);
  }
}

/// Replays on three sets of inputs, the first again at the end, against LibTorch's own results.
void verify(const Request& request, const Loaded& loaded, const Program& program,
            Outcome& outcome) {
  Executable executable = Executable::build(program, loaded.options);
  report_figures(program, loaded.options, outcome);
  const auto wanted = loaded.reference(loaded.inputs);
  std::vector<at::Tensor> outputs;
  outcome.report["replay_ms"] = median_ms(executable, loaded.inputs, request.repeat, outputs);
  note_difference(compare(outputs, wanted, request.rtol, request.atol), outcome);
  constexpr std::uint64_t kRounds = 2;
  for (std::uint64_t round = 1; round <= kRounds; ++round) {
    const auto inputs =
        redraw(request, loaded.specs, loaded.inputs, request.seed + round * 0x9e3779b9);
    note_difference(
        compare(executable.replay(inputs), loaded.reference(inputs), request.rtol, request.atol),
        outcome);
  }
  const auto again = executable.replay(loaded.inputs);
  note_difference(compare(again, outputs, 0, 0), outcome);
  if (!request.compare.empty()) {
    note_difference(compare(again, read_expected(request.compare), request.rtol, request.atol),
                    outcome);
  }
  if (!request.output.empty()) write_outputs(request.output, again);
}

void carry_out(const Request& request, Outcome& outcome) {
  const bench::Device device = bench::select_device(request.device);
  const auto start = std::chrono::steady_clock::now();
  const Loaded loaded = load_model(request, device.options());
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  outcome.report["load_ms"] = took.count();
  outcome.report["kind"] = loaded.kind;
  outcome.report["inputs"] = describe(loaded.specs, "in");
  if (const auto* rejection = std::get_if<Rejection>(&loaded.outcome)) {
    return refuse(*rejection, outcome);
  }
  const Program& program = std::get<Program>(loaded.outcome);
  outcome.report["inputs"] = describe(program.inputs(), "in");
  outcome.report["outputs"] = describe(program.outputs(), "out");
  if (!request.save.empty()) program.save(request.save);
  switch (request.command) {
    case Request::Command::kInspect:
      return inspect(loaded, program, outcome);
    case Request::Command::kRun:
      return run(request, loaded, program, outcome);
    case Request::Command::kVerify:
      return verify(request, loaded, program, outcome);
  }
}

bool write_report(const std::string& path, const json& report) {
  if (path.empty()) return true;
  std::ofstream out(path);
  out << report.dump(2, ' ', false, json::error_handler_t::replace) << '\n';
  out.flush();
  if (out) return true;
  std::cerr << path << ": can't be written\n";
  return false;
}

}  // namespace

int execute(const Request& request) {
  Outcome outcome;
  outcome.report = {{"model", request.model}, {"device", request.device}, {"status", "ok"},
                    {"reason", ""},           {"max_abs_diff", nullptr},  {"nodes", nullptr},
                    {"launches", nullptr}};
  try {
    carry_out(request, outcome);
  } catch (const UnknownModel& error) {
    outcome.end(kUnsupported, "unsupported", error.what());
  } catch (const Error& error) {
    const bool absent = error.code() == Code::kDeviceUnavailable;
    outcome.end(absent ? kUnsupported : kFailed, absent ? "unsupported" : "failed", error.what());
    outcome.report["code"] = code_name(error.code());
  } catch (const c10::Error& error) {
    outcome.end(kFailed, "failed", error.what_without_backtrace());
  } catch (const std::exception& error) {
    outcome.end(kFailed, "failed", error.what());
  }
  if (outcome.exit == kFailed || outcome.exit == kUnsupported) {
    std::cerr << outcome.report["reason"].get<std::string>() << '\n';
  }
  fmt::print("{}\n", outcome.report["status"].get<std::string>());
  if (!write_report(request.json, outcome.report)) return kFailed;
  return outcome.exit;
}

}  // namespace monograph::cli
