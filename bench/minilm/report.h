// The job's results for a terminal and as JSON.
#pragma once

#include <string>
#include <vector>

#include "bench/minilm/job.h"

namespace monograph::bench {

/// The most similar pairs of `sentences`.
std::string pairs_text(const Results& results, const std::vector<std::string>& sentences);
/// Nodes before and after each pass, launches, arena, capture time.
std::string capture_text(const Report& report);
/// Largest differences; speed; what was written.
std::string comparison_text(const Results& results);
std::string speed_text(const Results& results);

/// All of it as one JSON object with stable names.
std::string json_text(const Results& results, const std::vector<std::string>& sentences);

}  // namespace monograph::bench
