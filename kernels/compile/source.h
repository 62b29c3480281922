// Source text of an instance together with everything it includes.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "kernels/registry.h"

namespace monograph::kernels {

/// The translation unit and the embedded headers reachable from it, as (name, text), in order of
/// first inclusion. Only `#include "name"` of embedded files is followed.
struct SourceSet {
  std::string name;
  std::string text;
  std::vector<std::pair<std::string, const std::string*>> headers;
};

/// Throws Error(kInternal) if the instance names a source that isn't embedded.
SourceSet source_set(const Instance& instance);

}  // namespace monograph::kernels
