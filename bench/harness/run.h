// One model, several contenders, interleaved.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/harness/result.h"

namespace monograph::bench {

struct BenchSettings {
  Options options;  ///< of ours: back end and driver
  std::vector<std::string> peers;
  int rounds = 60;
  double round_ms = 20;      ///< what a contender's round takes, roughly
  double most_seconds = 60;  ///< per model: fewer rounds if they don't fit, never below 9
  double slowdown = 0;       ///< planted in a second copy of ours, for tests of the harness
  std::string python;
  std::string peer_script;
  std::string folder;            ///< for what Python peers read and write
  double reference_bytes = 8e9;  ///< most that the reference's weights may take
};

/// Names that BenchSettings::peers may hold.
const std::vector<std::string>& peer_names();

/// Prepares, checks and times everything on one model. `progress` hears what is going on.
ModelResult bench_model(const ModelEntry& entry, const ModelOptions& options,
                        const BenchSettings& settings,
                        const std::function<void(const std::string&)>& progress);

}  // namespace monograph::bench
