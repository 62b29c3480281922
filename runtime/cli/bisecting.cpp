#include "runtime/cli/bisecting.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "runtime/cli/session.h"
#include "runtime/dump/folder.h"
#include "runtime/inspect/bisect.h"
#include "runtime/inspect/reproducer.h"

namespace monograph::cli {
namespace {

namespace fs = std::filesystem;

const char* name_of(inspect::Finding::Where where) {
  switch (where) {
    case inspect::Finding::Where::kTrace:
      return "trace";
    case inspect::Finding::Where::kPass:
      return "pass";
    case inspect::Finding::Where::kBackend:
      return "backend";
    default:
      return "nowhere";
  }
}

inspect::Finding find(const Loaded& loaded, const inspect::BisectSettings& settings) {
  if (loaded.module) {
    return inspect::bisect(*loaded.module, loaded.inputs, loaded.options, settings);
  }
  return inspect::bisect(loaded.subject(), loaded.options, settings, loaded.expected);
}

/// A folder of that name, or with a number behind it.
fs::path claim(const std::string& folder) {
  const fs::path path = fs::path(folder).lexically_normal();
  const fs::path plain = path.has_filename() ? path : path.parent_path();
  const fs::path parent = plain.has_parent_path() ? plain.parent_path() : fs::path(".");
  return dump::claim_folder(parent, plain.filename().string());
}

}  // namespace

void add_bisect_options(CLI::App& app, BisectRequest& request) {
  app.add_option("--reproducer", request.folder, "folder for graph, weights and inputs")
      ->capture_default_str();
  app.add_option("--trials", request.trials, "runs at most, to make it small")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seconds", request.seconds, "time at most, to make it small")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

void bisect_model(const Request& request, const BisectRequest& how, Outcome& outcome) {
  const auto opened = open_model(request, outcome);
  if (!opened) return;
  inspect::BisectSettings settings;
  settings.tolerance = {request.rtol, request.atol};
  settings.minify = {how.trials, how.seconds};
  const inspect::Finding finding = find(opened->loaded, settings);
  outcome.report["bisect"] = {{"where", name_of(finding.where)}, {"pass", finding.pass},
                              {"number", finding.number},        {"backend", finding.backend},
                              {"message", finding.message},      {"calls", finding.calls},
                              {"trials", finding.trials}};
  say(outcome, finding.to_string());
  if (finding.where == inspect::Finding::Where::kNowhere) return;
  const fs::path folder = claim(how.folder);
  inspect::write_reproducer(finding, folder);
  auto& report = outcome.report["bisect"];
  report["calls_left"] = inspect::calls_of(finding.reproducer.graph).size();
  report["folder"] = folder.string();
  say(outcome, fmt::format("written to {0}: try 'monograph run {0}' and 'monograph verify {0} "
                           "--bisect'\n",
                           folder.string()));
  outcome.end(kFailed, "failed", finding.message);
}

}  // namespace monograph::cli
