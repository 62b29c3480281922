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

}  // namespace monograph::lower
