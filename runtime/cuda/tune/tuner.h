// Chooses among alternatives for a launch by timing them once on a device.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/cuda/tune/cache.h"
#include "runtime/cuda/tune/timing.h"

namespace monograph::cuda {

/// What is to be chosen: alternatives that do the same. The first is the one to take untried.
struct TuningProblem {
  /// Operator, sizes, layouts, dtypes and whatever else times depend on; one line.
  std::string key;
  /// Where the alternatives come from, with its version: "cublasLt 13.1.0", "gemv 3".
  std::string maker;
  std::vector<Operand> operands;
  std::vector<Alternative> alternatives;
};

struct TuningChoice {
  std::size_t index = 0;    ///< into the alternatives
  double microseconds = 0;  ///< as timed; 0: not timed
  bool from_cache = false;
  std::string reason;  ///< for dumps: what was timed, or why nothing was
};

/// `problem` with the device and the driver that its times depend on.
std::string key_on(const Context& context, const std::string& problem);

/// Thread-safe; one problem is timed at a time. Choices are remembered by problem, maker, GPU and
/// driver.
class Tuner {
 public:
  struct Settings {
    bool on = true;            ///< off: always the first alternative
    std::string directory;     ///< of the cache; see TuningCache
    Stopwatch stopwatch = {};  ///< empty: event_stopwatch
    TimingLimits limits = {};
  };
  Tuner(ContextRef context, Settings settings);

  /// The fastest alternative as remembered or as timed now; the first if tuning is off, if there is
  /// nothing to choose, or if nothing could be timed (warned about). Not while a stream of this
  /// thread is captured. Throws Error(kDevicePoisoned) and the like alone.
  TuningChoice choose(const TuningProblem& problem);

  bool on() const noexcept { return settings_.on; }
  TuningCache& cache() noexcept { return cache_; }
  /// Under which `problem` is remembered.
  std::string full_key(const TuningProblem& problem) const;

 private:
  TuningChoice time(const TuningProblem& problem, const std::string& key);

  ContextRef context_;
  Settings settings_;
  TuningCache cache_;
  std::mutex mutex_;
};

}  // namespace monograph::cuda
