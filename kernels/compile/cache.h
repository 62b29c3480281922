// Disk cache of compiled kernels.
#pragma once

#include <optional>
#include <string>

#include "kernels/compile/compiler.h"

namespace monograph::kernels {

/// Directory for `requested` (see Compiler) as it is named, whether it is there or not; empty if
/// there is to be none.
std::string cache_location(const std::string& requested);

/// Directory for `requested` (see Compiler), created; empty if there is none or it can't be
/// written (warned about once per directory).
std::string cache_directory(const std::string& requested);

/// The entry under `key`; nullopt if absent or corrupt (a corrupt entry is removed).
std::optional<Compiled> cache_read(const std::string& directory, const std::string& key);

/// Publishes an entry by rename. A failure (full or read-only disk) warns once and is otherwise
/// ignored.
void cache_write(const std::string& directory, const std::string& key, const Compiled& compiled);

}  // namespace monograph::kernels
