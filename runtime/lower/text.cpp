#include <fmt/format.h>

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/lower/lower.h"

namespace monograph::lower {

std::string_view launch_kind_name(LaunchKind kind) noexcept {
  switch (kind) {
    case LaunchKind::kAten:
      return "aten";
    case LaunchKind::kKernel:
      return "kernel";
    case LaunchKind::kLibrary:
      return "library";
    case LaunchKind::kFusion:
      return "fusion";
  }
  return "unknown";
}

namespace {

std::string names(const std::vector<const ir::Node*>& nodes) {
  std::string s = "(";
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (i > 0) s += ", ";
    s += "%" + nodes[i]->name();
  }
  return s + ")";
}

}  // namespace

std::string text(const Lowered& lowered) {
  std::string s = "lowered {\n  inputs=" + names(lowered.inputs) + "\n";
  for (const Launch& l : lowered.launches) {
    s += "  l" + std::to_string(l.id) + " = %" + l.node->name() + " : " + l.node->target();
    s += " by " + std::string(launch_kind_name(l.kind));
    if (!l.implementation.empty()) s += " " + l.implementation;
    if (!l.reason.empty()) s += " (" + l.reason + ")";
    s += "\n";
  }
  return s + "  outputs=" + names(lowered.outputs) + "\n}\n" + plan::text(lowered.problem);
}

std::string cost_table(const Lowered& lowered) {
  std::string s;
  std::array<std::size_t, 4> counts{};  // by kind
  for (const Launch& l : lowered.launches) {
    ++counts[static_cast<std::size_t>(l.kind)];
    s += fmt::format("{:>4} {:<32} {:<40} {:<8} {:>14.0f} B {:>10.2f} us\n", l.id, l.node->name(),
                     l.node->target(), launch_kind_name(l.kind), l.cost.bytes, l.predicted_us);
  }
  std::string kinds;
  for (const LaunchKind k :
       {LaunchKind::kKernel, LaunchKind::kFusion, LaunchKind::kLibrary, LaunchKind::kAten}) {
    kinds += fmt::format("{}{} {}", kinds.empty() ? "" : ", ", counts[static_cast<std::size_t>(k)],
                         launch_kind_name(k));
  }
  return s + fmt::format("{} launches, {:.0f} bytes, {:.0f} operations, {:.2f} us predicted; {}\n",
                         lowered.launches.size(), lowered.cost.bytes, lowered.cost.flops,
                         lowered.predicted_us, kinds);
}

}  // namespace monograph::lower
