// Who must wait for whom, and when each buffer lives.
#pragma once

#include <vector>

#include "runtime/plan/plan.h"

namespace monograph::plan {

/// When a buffer is touched. `sinks` are accesses such that every access of the buffer is one of
/// them or happens before one of them; `first` happens before every other access, provided that
/// the buffer is written before it is read.
struct Lifetime {
  LaunchId first = -1;  ///< -1 if nothing touches it
  LaunchId last = -1;
  std::vector<LaunchId> sinks;
};

struct Dependencies {
  /// For each launch the launches it directly depends on, distinct and descending. Implies every
  /// read-after-write, write-after-read and write-after-write order; has redundant entries.
  std::vector<std::vector<LaunchId>> predecessors;
  std::vector<Lifetime> lifetimes;  ///< by buffer
};

/// O(reads + writes), times a logarithm for sorting.
Dependencies find_dependencies(const Problem& problem);

/// The transitive reduction of `dependencies`, sorted by (to, from). Unique for a given order
/// relation. Costs one pass over bit rows: O(edges * launches / 64) words at worst, far less where
/// most earlier launches are ancestors or few are.
std::vector<Edge> reduce(const Dependencies& dependencies);

}  // namespace monograph::plan
