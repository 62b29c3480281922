// Forward itself beside a replay: do they agree, and if not, where do they part?
#pragma once

#include <monograph/compiled_module.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

namespace monograph::session {

/// Names of the state that `program` writes.
std::set<std::string> state_names(const Program& program);

/// Runs `module.forward` without gradients.
std::vector<at::Tensor> run_eager(const Module& module, const std::vector<at::Tensor>& inputs);

/// Runs forward, then `replay` on the same state, and compares outputs and state within the
/// tolerances of `options` (NaN equals NaN). State is afterwards what the replay left. Throws
/// Error(kVerification) that names the first node whose result differs.
void verify(const Module& module, const Program& program, const Options& options,
            const std::vector<at::Tensor>& inputs,
            const std::function<std::vector<at::Tensor>()>& replay);

}  // namespace monograph::session
