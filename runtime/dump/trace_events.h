// Timelines that Perfetto and chrome://tracing open.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace monograph::dump {

/// One span. Times in microseconds from the start of the recording.
struct TraceEvent {
  std::string name;
  std::string category;
  double start_us = 0;
  double duration_us = 0;
  int row = 0;  ///< shown as a thread
  std::vector<std::pair<std::string, std::string>> details;
};

/// Chrome's trace event format (complete events). `rows` name the rows by number.
std::string trace_events_json(const std::string& process, const std::vector<std::string>& rows,
                              const std::vector<TraceEvent>& events);

}  // namespace monograph::dump
