// The machine-readable form of a dump.
#pragma once

#include <string>

#include "runtime/dump/snapshot.h"

namespace monograph::dump {

/// dump.json: one object, keys in a fixed order, the same bytes for the same snapshot. Strings that
/// aren't UTF-8 get replacement characters. docs/debugging.md describes the keys. Texts longer than
/// `max_text_bytes` altogether (all stages, equal lines counted once) are cut: later stages then
/// have no lines, and `"cut": true`.
std::string json_text(const Snapshot& snapshot, std::size_t max_text_bytes = std::size_t{64} << 20);

}  // namespace monograph::dump
