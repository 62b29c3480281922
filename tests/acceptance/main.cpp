// Imports, plans and replays many archives in one process, and says of each whether it passes.
//
// The folder holds manifest.jsonl, one case a line: {"name": ..., "strides": [[...], ...],
// "sets": N}, with NAME.pt2 (NAME.pt, TorchScript, if it says "script": true) and NAME.safetensors
// beside it (scripts/acceptance makes them). Each case is replayed on its sets of inputs in turn
// and once more on the first. One line of JSON per case goes to the report: {"name", "status":
// "pass|refused|fail", "code", "reason", ...}; a line {"begin": NAME} goes before, so that a crash
// is known by its case. Cases that the report has begun aren't run again. A case may say what to
// "expect", "pass" or the code of a refusal: anything else is a failure.
#include <fmt/format.h>
#include <monograph/error.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
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

/// The verdict, or a failure where the case expects another.
Verdict judge_as_expected(const std::string& folder, const json& entry, const at::Device& device) {
  Verdict verdict = judge(folder, entry, device);
  const std::string got = verdict.status == "refused" ? verdict.code : verdict.status;
  const std::string wanted = entry.value("expect", got);
  if (verdict.status == "fail" || got == wanted) return verdict;
  verdict.status = "fail";
  verdict.reason = fmt::format("expected {}, got {} {}", wanted, got, verdict.reason);
  return verdict;
}

int run(const std::string& folder, const std::string& report, std::size_t least,
        const at::Device& device) {
  std::ifstream manifest(folder + "/manifest.jsonl");
  if (!manifest) {
    std::cerr << folder << "/manifest.jsonl can't be read\n";
    return 2;
  }
  const auto done = finished(report);
  std::ofstream out(report, std::ios::app);
  std::size_t failed = 0;
  std::size_t refused = 0;
  std::size_t count = 0;
  for (std::string line; std::getline(manifest, line);) {
    const json entry = json::parse(line);
    if (entry.contains("skip") || done.contains(entry["name"].get<std::string>())) continue;
    out << json{{"begin", entry["name"]}}.dump() << std::endl;
    const Verdict verdict = judge_as_expected(folder, entry, device);
    json result = {{"name", entry["name"]},  {"status", verdict.status},
                   {"code", verdict.code},   {"reason", verdict.reason},
                   {"worst", verdict.worst}, {"launches", verdict.launches}};
    out << result.dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
    ++count;
    refused += verdict.status == "refused" ? 1 : 0;
    if (verdict.status != "fail") continue;
    ++failed;
    std::cout << entry["name"].get<std::string>() << ": " << verdict.reason << std::endl;
  }
  fmt::print("{} cases: {} pass, {} refused, {} failed\n", count, count - refused - failed, refused,
             failed);
  if (count < least) {
    std::cerr << "expected " << least << " cases at least\n";
    return 2;
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace monograph::acceptance

int main(int argc, char** argv) {
  if (argc < 3 || argc > 5) {
    std::cerr
        << "Usage: monograph_acceptance FOLDER REPORT.jsonl [LEAST_NUMBER_OF_CASES [DEVICE]]\n";
    return 2;
  }
  const std::size_t least = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 0;
  return monograph::acceptance::run(argv[1], argv[2], least,
                                    at::Device(argc > 4 ? argv[4] : "cpu"));
}
