// Imports, plans and replays many archives in one process, and says of each whether it passes.
//
// The folder holds manifest.jsonl, one case a line: {"name": ..., "strides": [[...], ...],
// "sets": N}, with NAME.pt2 (NAME.pt, TorchScript, if it says "script": true) and NAME.safetensors
// beside it (scripts/acceptance makes them). Each case is replayed on its sets of inputs in turn
// and once more on the first. One line of JSON per case goes to the report: {"name", "status":
// "pass|refused|fail", "code", "reason", ...}; a line {"begin": NAME} goes before, so that a crash
// is known by its case. Cases that the report has begun aren't run again. A case may say what to
// "expect", "pass" or the code of a refusal or of an error: anything else is a failure. Where a
// device differs from the host, a file of lines {"name", "why", ...} overrides with "expect",
// "skip", "ignore" (outputs that aren't judged), "ties" (outputs that are indices along a dimension
// of an input, {"1": [0, -1]}) or "units" (what is taken for rounding, times so much).
#include <fmt/format.h>
#include <monograph/error.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "tests/acceptance/judge.h"

namespace monograph::acceptance {
namespace {

using nlohmann::json;

/// Names that the report already has.
std::set<std::string> finished(const std::string& report) {
  std::set<std::string> names;
  std::ifstream in(report);
  for (std::string line; std::getline(in, line);) {
    const json entry = json::parse(line, nullptr, false);
    if (!entry.is_object()) continue;
    if (entry.contains("begin")) names.insert(entry["begin"].get<std::string>());
  }
  return names;
}

struct Settings {
  std::string folder;
  std::string report;
  std::size_t least = 0;
  std::string device = "cpu";
  std::string part = "0/1";
  std::string overrides;
  bool stream = false;
};

/// What holds on this device instead of the manifest, by case.
std::map<std::string, json> overrides(const std::string& path) {
  std::map<std::string, json> found;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const json entry = json::parse(line);
    found[entry["name"].get<std::string>()] = entry;
  }
  return found;
}

/// The cases to run: every N-th of the manifest, without those that are skipped or already begun.
std::vector<json> cases(const Settings& settings) {
  std::ifstream manifest(settings.folder + "/manifest.jsonl");
  if (!manifest) throw std::runtime_error(settings.folder + "/manifest.jsonl can't be read");
  const auto done = finished(settings.report);
  auto other = overrides(settings.overrides);
  const std::size_t slash = settings.part.find('/');
  const std::size_t part = std::stoul(settings.part);
  const std::size_t parts = std::stoul(settings.part.substr(slash + 1));
  std::vector<json> list;
  std::size_t at = 0;
  for (std::string line; std::getline(manifest, line); ++at) {
    json entry = json::parse(line);
    const auto name = entry["name"].get<std::string>();
    // What another implementation rounds the other way is one unit in bf16's last place apart.
    if (settings.device != "cpu" && entry.value("dtype", "") == "bfloat16") entry["units"] = 4;
    if (other.contains(name)) entry.update(other[name]);
    if (at % parts == part && !entry.contains("skip") && !done.contains(name)) {
      list.push_back(std::move(entry));
    }
  }
  return list;
}

/// The verdict, or a failure where the case expects another.
Verdict judge_as_expected(const json& entry, const Settings& settings) {
  Options options;
  if (settings.stream) options.graph_mode = GraphMode::kNone;
  Verdict verdict = judge(settings.folder, entry, at::Device(settings.device), options);
  const bool differs = verdict.status == "fail" && verdict.code.empty();
  const std::string got = verdict.code.empty() ? verdict.status : verdict.code;
  const std::string wanted = entry.value("expect", verdict.status == "fail" ? "pass" : got);
  if (!differs && got == wanted) {
    if (verdict.status == "fail") verdict.status = "refused";
    return verdict;
  }
  verdict.reason = verdict.status == "fail"
                       ? verdict.reason
                       : fmt::format("expected {}, got {} {}", wanted, got, verdict.reason);
  verdict.status = "fail";
  return verdict;
}

int run(const Settings& settings) {
  std::ofstream out(settings.report, std::ios::app);
  std::size_t failed = 0;
  std::size_t refused = 0;
  const auto list = cases(settings);
  for (const json& entry : list) {
    out << json{{"begin", entry["name"]}}.dump() << std::endl;
    const Verdict verdict = judge_as_expected(entry, settings);
    json result = {{"name", entry["name"]},  {"status", verdict.status},
                   {"code", verdict.code},   {"reason", verdict.reason},
                   {"worst", verdict.worst}, {"launches", verdict.launches}};
    out << result.dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
    refused += verdict.status == "refused" ? 1 : 0;
    if (verdict.status != "fail") continue;
    ++failed;
    std::cout << entry["name"].get<std::string>() << ": " << verdict.reason << std::endl;
  }
  fmt::print("{} cases: {} pass, {} refused, {} failed\n", list.size(),
             list.size() - refused - failed, refused, failed);
  if (list.size() < settings.least) {
    std::cerr << "expected " << settings.least << " cases at least\n";
    return 2;
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace monograph::acceptance

int main(int argc, char** argv) {
  monograph::acceptance::Settings settings;
  CLI::App app("Imports, plans and replays many archives in one process and judges each");
  app.add_option("folder", settings.folder, "holds manifest.jsonl and the cases")->required();
  app.add_option("report", settings.report, "one line of JSON a case is added here")->required();
  app.add_option("--least", settings.least, "number of cases below which the run fails");
  app.add_option("--device", settings.device, "as LibTorch names it")->capture_default_str();
  app.add_option("--part", settings.part, "I/N: every N-th case, from the I-th")
      ->capture_default_str();
  app.add_option("--overrides", settings.overrides, "verdicts of this device")
      ->check(CLI::ExistingFile);
  app.add_flag("--stream", settings.stream, "launch by launch, without a graph");
  CLI11_PARSE(app, argc, argv);
  try {
    return monograph::acceptance::run(settings);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
