// A small failing case as files.
#pragma once

#include <filesystem>

#include "runtime/inspect/bisect.h"

namespace monograph::inspect {

/// Writes `finding` into `folder` (created; its files must not exist): graph.txt,
/// weights.safetensors (those that the graph reads), inputs.safetensors (by placeholder target),
/// expected.safetensors ("out_0", ...: the reference interpreter's results), finding.txt, and
/// case.mono, a package of graph and weights for `monograph run case.mono --input
/// inputs.safetensors --compare expected.safetensors`.
/// Throws std::filesystem::filesystem_error and Error.
void write_reproducer(const Finding& finding, const std::filesystem::path& folder);

/// Reads what `write_reproducer` wrote. Error(kInvalidFile) and Error(kInvalidGraph) name the file.
Subject read_reproducer(const std::filesystem::path& folder);

}  // namespace monograph::inspect
