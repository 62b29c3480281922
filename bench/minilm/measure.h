// Two ways of doing the same, timed in turns.
#pragma once

#include <functional>

namespace monograph::bench {

/// Microseconds per call over all rounds.
struct Timing {
  double median = 0;
  double low = 0;   ///< 10th percentile
  double high = 0;  ///< 90th percentile
};

struct Comparison {
  Timing a;
  Timing b;
  int rounds = 0;
  int calls = 0;  ///< of each, per round
};

/// Times `a` and `b` in `rounds` rounds (at least 1): both run in each, and the order alternates,
/// so that drifts of clock and load hit both alike. Each is warmed up first; a round makes as many
/// calls as take about 20 ms.
Comparison compare(const std::function<void()>& a, const std::function<void()>& b, int rounds);

}  // namespace monograph::bench
