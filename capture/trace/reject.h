// Words of refusals.
#pragma once

#include <monograph/error.h>

#include <string>
#include <string_view>
#include <vector>

#include "capture/ir/graph.h"

namespace monograph::trace {

/// The lines of `graph` that lead to `marked`, that one marked by ">>>".
std::string excerpt(const ir::Graph& graph, const ir::Node* marked);

/// What goes wrong when a call writes `subject`, and what to do about it.
std::string mutation_reason(ir::StorageKind kind, std::string_view subject, bool geometry);
std::string mutation_remedy(ir::StorageKind kind);

/// The refusal of a module with dropout or batch-norm in training mode.
Rejection training_rejection(const std::vector<std::string>& modules);

}  // namespace monograph::trace
