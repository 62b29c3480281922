// Which passes options ask for.
#pragma once

#include <monograph/options.h>

#include <string>
#include <vector>

#include "capture/ir/graph.h"

namespace monograph::trace {

/// The passes by name that `options` ask for on `graph`: those they list; for "fused" alone, or for
/// none where the back end will be cuda, the list for back ends with kernels for fusions; else the
/// default one. Error(kInvalidOption) for an unknown name.
const std::vector<std::string>& pipeline_of(const Options& options, const ir::Graph& graph);

/// Throws for names that `pipeline_of` would.
void check_passes(const Options& options);

}  // namespace monograph::trace
