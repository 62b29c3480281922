// What one shape key of a wrapper came to.
#pragma once

#include <monograph/executable.h>

#include <atomic>
#include <mutex>
#include <optional>

#include "runtime/session/guards.h"

namespace monograph::session {

/// `mutex` guards everything but `settled`. Never erased while its wrapper lives.
struct Entry {
  std::mutex mutex;
  std::optional<Executable> executable;
  std::optional<Rejection> rejection;
  std::optional<WeightGuard> weights;  ///< Mode::kStock only
  bool stateful = false;               ///< the program writes declared state
  bool warned = false;                 ///< that calls run eagerly
  std::uint64_t calls = 0;             ///< as far as verification counts them
  std::atomic<bool> settled = false;   ///< has an executable or a rejection
};

}  // namespace monograph::session
