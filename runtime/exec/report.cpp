#include <fmt/format.h>
#include <monograph/executable.h>

namespace monograph {
namespace {

void line(std::string& out, std::string_view label, const std::string& value) {
  out += fmt::format("{:<22}{}\n", label, value);
}

std::string mebibytes(std::int64_t bytes) {
  return fmt::format("{} ({:.2f} MiB)", bytes, static_cast<double>(bytes) / (1 << 20));
}

}  // namespace

std::string Report::to_string() const {
  std::string s;
  line(s, "back end", backend);
  line(s, "nodes traced", fmt::to_string(nodes_traced));
  for (const PassSummary& pass : passes) {
    line(s, "  " + pass.name,
         fmt::format("{} -> {} ({} changes, {:.2f} ms)", pass.nodes_before, pass.nodes_after,
                     pass.changes, pass.milliseconds));
  }
  line(s, "nodes final", fmt::to_string(nodes_final));
  line(s, "launches", fmt::to_string(launches));
  line(s, "arena bytes", mebibytes(arena_bytes));
  line(s, "  lower bound", mebibytes(arena_lower_bound));
  line(s, "weight bytes", mebibytes(weight_bytes));
  line(s, "trace ms", fmt::format("{:.2f}", trace_ms));
  line(s, "passes ms", fmt::format("{:.2f}", passes_ms));
  line(s, "build ms", fmt::format("{:.2f}", build_ms));
  line(s, "allocating launches", fmt::to_string(allocating_launches.size()));
  for (const std::string& launch : allocating_launches) s += "  " + launch + "\n";
  return s;
}

}  // namespace monograph
