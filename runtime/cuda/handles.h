// All owning driver handles: move-only, states checked, destructors never throw.
#pragma once

#include "runtime/cuda/handles/context.h"
#include "runtime/cuda/handles/graph.h"
#include "runtime/cuda/handles/library.h"
#include "runtime/cuda/handles/memory.h"
#include "runtime/cuda/handles/stream.h"
