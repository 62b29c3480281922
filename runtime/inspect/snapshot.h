// What an executable looks like from inside, for dumps.
#pragma once

#include <monograph/executable.h>

#include <string>
#include <string_view>

#include "runtime/dump/snapshot.h"

namespace monograph::inspect {

/// Everything a dump shows of `executable`, which must outlive the snapshot: graph, lowering and
/// plan are borrowed from it. `module` and `key` name it.
dump::Snapshot snapshot_of(const Executable& executable, std::string module, std::string key);

/// Writes a dump (runtime/dump/write.h) with transformed_code.py and weights.safetensors into
/// `folder`, which exists. False, with one warning logged, if the Python form or the weights can't
/// be written; throws std::filesystem::filesystem_error and Error for the rest.
bool write_dump(const Executable& executable, const dump::Snapshot& snapshot,
                const std::string& folder);

}  // namespace monograph::inspect
