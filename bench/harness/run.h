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
  int rounds = 60;           ///< at least, if they fit into `most_seconds`
  double round_ms = 20;      ///< what a contender's round takes, roughly
  double most_seconds = 60;  ///< per model: fewer rounds if they don't fit, never below 9
  /// More rounds until the interval of each contender's ratio to ours is at most this wide; 0: no
  /// more. Many short rounds see through the load of a shared machine, few long ones don't.
  double precision = 0;
  double slowdown = 0;  ///< planted in a second copy of ours, for tests of the harness
  std::string python;
  std::string peer_script;
  std::string folder;            ///< for what Python peers read and write
  double reference_bytes = 8e9;  ///< most that the reference's weights may take
};

/// Names that BenchSettings::peers may hold.
const std::vector<std::string>& peer_names();

/// What goes on: rounds `done` `of` so many, or 0 where nobody counts.
struct Progress {
  std::string what;
  int done = 0;
  int of = 0;
};

/// A result that says which model it is of, without contenders.
ModelResult describe(const ModelEntry& entry, const ModelOptions& options);

/// Prepares, checks and times everything on one model. `progress` hears what is going on.
ModelResult bench_model(const ModelEntry& entry, const ModelOptions& options,
                        const BenchSettings& settings,
                        const std::function<void(const Progress&)>& progress);

}  // namespace monograph::bench
