#include "runtime/dump/trace_events.h"

#include <nlohmann/json.hpp>

namespace monograph::dump {
namespace {

using Json = nlohmann::ordered_json;

Json metadata(const char* what, int row, const std::string& name) {
  return {{"ph", "M"}, {"pid", 1}, {"tid", row}, {"name", what}, {"args", {{"name", name}}}};
}

}  // namespace

std::string trace_events_json(const std::string& process, const std::vector<std::string>& rows,
                              const std::vector<TraceEvent>& events) {
  Json list = Json::array();
  list.push_back(metadata("process_name", 0, process));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    list.push_back(metadata("thread_name", static_cast<int>(i), rows[i]));
  }
  for (const TraceEvent& e : events) {
    Json details = Json::object();
    for (const auto& [key, value] : e.details) details[key] = value;
    list.push_back({{"ph", "X"},
                    {"pid", 1},
                    {"tid", e.row},
                    {"ts", e.start_us},
                    {"dur", e.duration_us},
                    {"name", e.name},
                    {"cat", e.category},
                    {"args", std::move(details)}});
  }
  const Json out = {{"traceEvents", std::move(list)}, {"displayTimeUnit", "ns"}};
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace monograph::dump
