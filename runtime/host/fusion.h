// A fusion on the host: its subgraph, op by op, on the launch's workspace.
#pragma once

#include "runtime/host/bind.h"

namespace monograph::host {

/// Binds every node of `subgraph` to tensors of the call's arguments, of its results and of
/// `workspace`.
BoundLaunch bind_fusion(const ir::Node& call, const ir::Graph& subgraph, Scope& outer,
                        std::byte* workspace);

}  // namespace monograph::host
