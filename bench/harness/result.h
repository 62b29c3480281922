// Results of a benchmark as values, and as JSON, CSV and Markdown.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bench/harness/check.h"
#include "bench/harness/contender.h"
#include "bench/harness/statistics.h"

namespace monograph::bench {

/// One contender on one model. Times are microseconds per call, one value per round.
struct ContenderResult {
  std::string name;
  std::string status;  ///< "ok", "missing" or "wrong"
  std::string reason;  ///< why not ok
  double prepare_ms = 0;
  Check check;
  std::vector<double> wall_us;
  std::vector<double> device_us;  ///< empty without a GPU
  /// Median of the caller's thread's own time per call, in runs too short to fill a launch queue.
  std::optional<double> host_us;
  /// Bytes, counts and milliseconds by name: see Contender::figures; "device_bytes" is what the
  /// device's memory in use grew by while it was prepared.
  std::map<std::string, double> figures;
};

struct ModelResult {
  std::string model;
  std::string dtype;
  std::int64_t batch = 1;
  std::int64_t length = 0;
  std::int64_t layers = 0;  ///< 0: all
  std::string unit;
  double units_per_call = 0;
  double read_bytes = 0;
  double flop = 0;
  std::string reference;                    ///< what answers were checked against
  std::vector<ContenderResult> contenders;  ///< ours first
};

struct BenchResult {
  std::string command;
  std::string date;  ///< UTC, ISO 8601
  std::string host;  ///< processor, cores, system
  int threads = 0;   ///< of every contender on the host; 0: not known
  std::string device;
  std::string clocks;  ///< of the processor, and the load, when it ended and when it began
  std::string monograph_version;
  std::string torch_version;
  double bytes_per_us = 0;  ///< read ceiling that the roofline uses; 0: unknown
  std::vector<ModelResult> models;
};

/// "bert-base, Float, batch 1, length 128"
std::string heading(const ModelResult& model);

nlohmann::json to_json(const BenchResult& result);
/// Error(kInvalidFile) names the file and what is wrong with it.
BenchResult read_result(const std::filesystem::path& file);
/// Error(kInvalidFile) if it can't be written.
void write_text(const std::filesystem::path& file, const std::string& text);

/// A table per model: median [p10, p90], ratio with its interval, verdict, rate, share of the
/// floor.
std::string to_markdown(const BenchResult& result);
/// One line per model and contender.
std::string to_csv(const BenchResult& result);
/// What differs between two results, in words; `worse` if ours got slower, wrong or missing.
struct Comparison {
  std::string text;
  bool worse = false;
};
/// Per model and contender. Where both results have eager, it stands for the machine: compared are
/// the ratios to it within rounds, so that a slower day isn't a slower build. A change is reported
/// if the intervals of both medians (confidence 0.995 each) are more than 2 percent apart.
/// Contenders that only one has are named.
Comparison compare_results(const BenchResult& before, const BenchResult& after);

}  // namespace monograph::bench
