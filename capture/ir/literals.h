// Parts of graph text that mean the same in every graph.
#pragma once

#include <cstdint>
#include <vector>

#include "capture/ir/cursor.h"
#include "capture/ir/graph.h"

namespace monograph::ir {

StorageKind read_storage_kind(Cursor& cursor);
/// "cuda:0"
Device read_short_device(Cursor& cursor);
/// "[1,2]"; `what` is one of them in messages.
std::vector<std::int64_t> read_naturals(Cursor& cursor, const char* what);
/// "random" or "nondeterministic"
void read_trait(Cursor& cursor, Traits& traits);
/// An argument that is neither a node nor a list.
Arg read_literal(Cursor& cursor);

}  // namespace monograph::ir
