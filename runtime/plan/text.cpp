#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/plan/plan.h"

namespace monograph::plan {
namespace {

/// Double-quoted; quotes, backslashes and control characters escaped. Other bytes as they are.
std::string quoted(std::string_view s) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : s) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      out += "\\x";
      out += kHex[byte / 16];
      out += kHex[byte % 16];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string list(const std::vector<BufferId>& ids) {
  std::string s = "(";
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) s += ", ";
    s += "b" + std::to_string(ids[i]);
  }
  return s + ")";
}

std::string line(const Buffer& b) {
  std::string s = "  b" + std::to_string(b.id) + " = " + std::string(buffer_kind_name(b.kind));
  s += "[bytes=" + std::to_string(b.bytes);
  if (b.slot != -1) s += ", slot=" + std::to_string(b.slot);
  if (!b.name.empty()) s += ", name=" + quoted(b.name);
  return s + "]\n";
}

std::string line(const Launch& l) {
  std::string s = "  l" + std::to_string(l.id) + " = launch[";
  if (!l.name.empty()) s += "name=" + quoted(l.name) + ", ";
  s += "reads=" + list(l.reads) + ", writes=" + list(l.writes);
  if (l.workspace_bytes != 0) s += ", workspace=" + std::to_string(l.workspace_bytes);
  return s + "]\n";
}

std::string line(const Placement& p) {
  std::string s = p.buffer >= 0 ? "  b" + std::to_string(p.buffer)
                                : "  workspace of l" + std::to_string(p.launch);
  s += " at [" + std::to_string(p.offset) + ", " + std::to_string(p.offset + p.bytes) + ")";
  return s + " during l" + std::to_string(p.first) + "..l" + std::to_string(p.last) + "\n";
}

/// "1.03"; the ratio of two sizes, "-" if there is none.
std::string ratio(std::int64_t a, std::int64_t b) {
  if (b <= 0) return "-";
  const std::int64_t hundredths =
      std::llround(100.0 * static_cast<double>(a) / static_cast<double>(b));
  std::string fraction = std::to_string(hundredths % 100);
  if (fraction.size() < 2) fraction = "0" + fraction;
  return std::to_string(hundredths / 100) + "." + fraction;
}

/// One line per launch that waits for others.
std::string edge_lines(const std::vector<Edge>& edges) {
  std::string s;
  for (std::size_t i = 0; i < edges.size(); ++i) {
    const bool first = i == 0 || edges[i - 1].to != edges[i].to;
    const bool last = i + 1 == edges.size() || edges[i + 1].to != edges[i].to;
    s += first ? "  l" + std::to_string(edges[i].to) + " after l" : ", l";
    s += std::to_string(edges[i].from);
    if (last) s += "\n";
  }
  return s;
}

}  // namespace

std::string text(const Problem& problem) {
  std::string s = "problem {\n";
  for (const Buffer& b : problem.buffers) s += line(b);
  for (const Launch& l : problem.launches) s += line(l);
  return s + "}\n";
}

std::string text(const Plan& plan) {
  std::string s = text(plan.problem);
  const bool sequential = plan.concurrency == Concurrency::kSequential;
  s += std::string("plan[concurrency=") + (sequential ? "sequential" : "graph");
  s += ", inputs=" + std::to_string(plan.input_count);
  s += ", outputs=" + std::to_string(plan.output_count);
  s += ", launches=" + std::to_string(plan.problem.launches.size());
  s += ", edges=" + std::to_string(plan.edges.size());
  s += ", arena_bytes=" + std::to_string(plan.arena_bytes);
  s += ", lower_bound_bytes=" + std::to_string(plan.lower_bound_bytes);
  s += ", ratio=" + ratio(plan.arena_bytes, plan.lower_bound_bytes) + "]\n";
  s += "edges {\n" + edge_lines(plan.edges) + "}\n";
  s += "arena {\n";
  for (const Placement& p : plan.placements) s += line(p);
  return s + "}\n";
}

}  // namespace monograph::plan
