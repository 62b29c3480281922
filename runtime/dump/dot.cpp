#include "runtime/dump/dot.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

namespace monograph::dump {
namespace {

constexpr std::string_view kHead =
    "  rankdir=TB;\n"
    "  node [shape=box, style=rounded, fontname=\"Helvetica\", fontsize=10];\n"
    "  edge [color=\"#667788\", arrowsize=0.6];\n";

/// Inside a DOT string: quotes, backslashes and line ends escaped.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n' || c == '\r') {
      out += ' ';
    } else {
      out += c;
    }
  }
  return out;
}

/// Takes a number off the front of `text`.
std::optional<int> take_number(std::string_view& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

/// "node 3 %linear: kernel gemm ..." as a DOT statement, or nothing.
std::string node_line(std::string_view line) {
  if (!take(line, "node ")) return {};
  const auto id = take_number(line);
  if (!id) return {};
  take(line, " ");
  const std::size_t colon = line.find(": ");
  std::string label = escaped(line.substr(0, colon));
  if (colon != std::string_view::npos) label += "\\n" + escaped(line.substr(colon + 2));
  return fmt::format("  n{} [label=\"{}\"];\n", *id, label);
}

std::string edge_line(std::string_view line) {
  if (!take(line, "edge ")) return {};
  const auto from = take_number(line);
  if (!from || !take(line, " -> ")) return {};
  const auto to = take_number(line);
  if (!to) return {};
  const bool programmatic = line.find("programmatic") != std::string_view::npos;
  return fmt::format("  n{} -> n{}{};\n", *from, *to,
                     programmatic ? " [style=dashed, label=\"programmatic\"]" : "");
}

}  // namespace

std::string plan_dot(const plan::Plan& plan) {
  std::string out = "digraph plan {\n";
  out += kHead;
  for (const plan::Launch& launch : plan.problem.launches) {
    out += fmt::format("  l{} [label=\"{}\"];\n", launch.id, escaped(launch.name));
  }
  for (const plan::Edge& edge : plan.edges) {
    out += fmt::format("  l{} -> l{};\n", edge.from, edge.to);
  }
  return out + "}\n";
}

std::string device_graph_dot(std::string_view text) {
  std::string out = "digraph device {\n";
  out += kHead;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    out += node_line(line);
    out += edge_line(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out + "}\n";
}

}  // namespace monograph::dump
