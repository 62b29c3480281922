// Export for Model Explorer (github.com/google-ai-edge/model-explorer), which opens its own JSON
// graph format without a converter.
#pragma once

#include <string>

#include "runtime/dump/snapshot.h"

namespace monograph::dump {

/// A graph collection: the final graph, with module paths as namespaces, weights left out (they are
/// attributes of the nodes that read them), and one graph per fusion, which its calls open.
/// `snapshot.graph` must be set.
std::string model_explorer_json(const Snapshot& snapshot);

}  // namespace monograph::dump
