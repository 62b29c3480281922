// A profile as table, timeline and JSON.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "runtime/dump/trace_events.h"
#include "runtime/inspect/profile.h"

namespace monograph::inspect {
namespace {

std::string shortened(const std::string& text, std::size_t most) {
  return text.size() <= most ? text : text.substr(0, most - 3) + "...";
}

double share(double part, double whole) {
  return whole > 0 ? 100 * part / whole : 0;
}

/// "2.4x": how much longer than the ceilings allow.
std::string distance(const NodeProfile& row) {
  return row.floor_us > 0 ? fmt::format("{:.1f}x", row.median_us / row.floor_us) : "-";
}

std::string head(const Profile& p) {
  std::string s =
      fmt::format("{} launches on '{}', {} runs: replay {:.1f} us, launches {:.1f} us\n",
                  p.nodes.size(), p.backend, p.runs, p.replay_us, p.launches_us);
  if (p.ceilings.bytes_per_us > 0) {
    s +=
        fmt::format("this machine at best: {:.1f} GB/s read, {:.1f} GFLOP/s (f32 matrix product)\n",
                    p.ceilings.bytes_per_us / 1e3, p.ceilings.flops_per_us / 1e3);
  }
  return s;
}

std::string slowest(const Profile& p, std::size_t rows) {
  std::vector<std::size_t> order(p.nodes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater<>(),
                           [&p](std::size_t i) { return p.nodes[i].median_us; });
  std::string s = fmt::format("\n{:>10} {:>7} {:>10} {:>9}  {:<28} {:<32} {}\n", "us", "share",
                              "p10..p90", "vs best", "node", "operator", "module");
  for (std::size_t i = 0; i < std::min(rows, order.size()); ++i) {
    const NodeProfile& row = p.nodes[order[i]];
    s += fmt::format("{:>10.1f} {:>6.1f}% {:>10} {:>9}  {:<28} {:<32} {}\n", row.median_us,
                     share(row.median_us, p.launches_us),
                     fmt::format("{:.0f}..{:.0f}", row.p10_us, row.p90_us), distance(row),
                     shortened(row.node, 28), shortened(row.target, 32), row.module_path);
  }
  if (order.size() > rows) s += fmt::format("{:>10} {} more\n", "...", order.size() - rows);
  return s;
}

std::string by_operator(const Profile& p) {
  struct Sum {
    double us = 0;
    std::size_t launches = 0;
  };
  std::map<std::string, Sum> sums;
  for (const NodeProfile& row : p.nodes) {
    Sum& sum = sums[row.target + "  " + row.implementation];
    sum.us += row.median_us;
    ++sum.launches;
  }
  std::vector<std::pair<std::string, Sum>> order(sums.begin(), sums.end());
  std::ranges::stable_sort(order, std::greater<>(), [](const auto& e) { return e.second.us; });
  std::string s = fmt::format("\n{:>10} {:>7} {:>9}  {}\n", "us", "share", "launches", "operator");
  for (const auto& [name, sum] : order) {
    s += fmt::format("{:>10.1f} {:>6.1f}% {:>9}  {}\n", sum.us, share(sum.us, p.launches_us),
                     sum.launches, name);
  }
  return s;
}

/// The first `depth` parts of a dotted path; empty if it has fewer.
std::string prefix(const std::string& path, std::size_t depth) {
  std::size_t end = 0;
  for (std::size_t i = 0; i < depth; ++i) {
    if (end == std::string::npos || path.empty()) return {};
    end = path.find('.', i == 0 ? 0 : end + 1);
  }
  return path.substr(0, end);
}

std::size_t parts(const std::string& path) {
  return path.empty() ? 0 : static_cast<std::size_t>(std::ranges::count(path, '.')) + 1;
}

/// Modules as spans around the launches that follow each other in them.
void add_modules(const Profile& p, const std::vector<double>& starts,
                 std::vector<dump::TraceEvent>& events) {
  std::size_t deepest = 0;
  for (const NodeProfile& row : p.nodes) deepest = std::max(deepest, parts(row.module_path));
  for (std::size_t depth = 1; depth <= deepest; ++depth) {
    for (std::size_t i = 0; i < p.nodes.size();) {
      const std::string module = prefix(p.nodes[i].module_path, depth);
      std::size_t end = i + 1;
      while (end < p.nodes.size() && prefix(p.nodes[end].module_path, depth) == module) ++end;
      if (!module.empty()) {
        events.push_back({module.substr(module.rfind('.') + 1),
                          "module",
                          starts[i],
                          starts[end] - starts[i],
                          0,
                          {{"path", module}}});
      }
      i = end;
    }
  }
}

}  // namespace

std::string profile_table(const Profile& profile, std::size_t rows) {
  return head(profile) + slowest(profile, rows) + by_operator(profile);
}

std::string profile_trace(const Profile& profile, const std::string& name) {
  std::vector<double> starts{0};
  for (const double us : profile.last_us) starts.push_back(starts.back() + us);
  std::vector<dump::TraceEvent> events;
  add_modules(profile, starts, events);
  for (std::size_t i = 0; i < profile.nodes.size(); ++i) {
    const NodeProfile& row = profile.nodes[i];
    events.push_back({row.node,
                      "launch",
                      starts[i],
                      profile.last_us[i],
                      0,
                      {{"operator", row.target},
                       {"carried out by", row.implementation},
                       {"result", row.type},
                       {"module", row.module_path},
                       {"bytes moved", fmt::format("{:.0f}", row.bytes)},
                       {"FLOP", fmt::format("{:.0f}", row.flops)}}});
  }
  return dump::trace_events_json(name, {"replay"}, events);
}

std::string profile_json(const Profile& profile, const std::string& name) {
  using Json = nlohmann::ordered_json;
  Json nodes = Json::array();
  for (const NodeProfile& row : profile.nodes) {
    nodes.push_back({{"node", row.node},
                     {"target", row.target},
                     {"implementation", row.implementation},
                     {"module", row.module_path},
                     {"type", row.type},
                     {"median_us", row.median_us},
                     {"p10_us", row.p10_us},
                     {"p90_us", row.p90_us},
                     {"bytes", row.bytes},
                     {"flops", row.flops},
                     {"floor_us", row.floor_us}});
  }
  const Json out = {{"format", "monograph-profile"},
                    {"version", 1},
                    {"module", name},
                    {"backend", profile.backend},
                    {"runs", profile.runs},
                    {"replay_us", profile.replay_us},
                    {"launches_us", profile.launches_us},
                    {"bytes_per_us", profile.ceilings.bytes_per_us},
                    {"flops_per_us", profile.ceilings.flops_per_us},
                    {"nodes", std::move(nodes)}};
  return out.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace monograph::inspect
