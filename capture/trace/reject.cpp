#include "capture/trace/reject.h"

#include <cstddef>

#include "capture/ir/text.h"

namespace monograph::trace {

std::string excerpt(const ir::Graph& graph, const ir::Node* marked) {
  constexpr int kLines = 10;
  const ir::Node* first = marked;
  for (int i = 1; i < kLines; ++i) {
    const ir::Node* before = graph.prev(first);
    if (before == nullptr) break;
    first = before;
  }
  std::string lines;
  for (const ir::Node* node = first; node != nullptr; node = graph.next(node)) {
    lines += node == marked ? ">>> " : "    ";
    lines += ir::text(*node) + "\n";
    if (node == marked) break;
  }
  return lines;
}

std::string mutation_reason(ir::StorageKind kind, std::string_view subject, bool geometry) {
  std::string what(ir::storage_kind_name(kind));
  if (kind == ir::StorageKind::kConstant) what = "a tensor made outside of forward,";
  return (geometry ? "it changes the shape or memory of " : "it writes ") + what + " '" +
         std::string(subject) +
         "' in place: a replay would change memory that outlives the call, behind the back of "
         "whoever owns it";
}

std::string mutation_remedy(ir::StorageKind kind) {
  if (kind == ir::StorageKind::kBuffer) {
    return "call eval() if training statistics are updated; otherwise compute a new tensor and "
           "return it instead of updating the buffer in forward, or declare the buffer in "
           "Options::mutable_state";
  }
  return "compute a new tensor (y = x + 1) instead of writing in place (x.add_(1)), or write to "
         "x.clone()";
}

Rejection training_rejection(const std::vector<std::string>& modules) {
  constexpr std::size_t kNamed = 5;
  Rejection rejection;
  rejection.code = Code::kRejectedTraining;
  rejection.subject = modules.front().empty() ? "(the module itself)" : modules.front();
  rejection.module_path = modules.front();
  rejection.reason =
      "in training mode forward draws random numbers or updates statistics, which a "
      "replay would freeze; in training mode are:";
  for (std::size_t i = 0; i < modules.size() && i < kNamed; ++i) {
    rejection.reason += (i == 0 ? " '" : ", '") + modules[i] + "'";
  }
  if (modules.size() > kNamed) {
    rejection.reason += " and " + std::to_string(modules.size() - kNamed) + " more";
  }
  rejection.remedy = "call eval() on the module before tracing";
  return rejection;
}

}  // namespace monograph::trace
