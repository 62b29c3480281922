// Which library does a problem, and which of its ways: chosen once per problem and session.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/cuda/library/math_library.h"
#include "runtime/cuda/tune/tuner.h"

namespace monograph::cuda {

struct LibraryPlan {
  std::shared_ptr<const MathLibrary> library;  ///< null: none can
  LibraryWay way;
  std::string reason;       ///< how the way was chosen, or why there is none
  double microseconds = 0;  ///< as timed; 0: not timed
};

/// Thread-safe. Opens libraries when first asked.
class LibraryPlanner {
 public:
  /// `tries`: the way that is taken is tried, and not used if it fails or loses NaN.
  LibraryPlanner(ContextRef context, std::shared_ptr<Tuner> tuner, bool tries = true)
      : context_(std::move(context)), tuner_(std::move(tuner)), tries_(tries) {}

  /// Valid as long as this object. Makes the context current.
  const LibraryPlan& plan(const LibraryProblem& problem);

 private:
  LibraryPlan make(const LibraryProblem& problem, const std::string& key);

  ContextRef context_;
  std::shared_ptr<Tuner> tuner_;
  bool tries_;
  std::mutex mutex_;
  bool opened_ = false;
  std::vector<std::shared_ptr<MathLibrary>> libraries_;
  std::map<std::string, LibraryPlan> plans_;  // by text of the problem
};

}  // namespace monograph::cuda
