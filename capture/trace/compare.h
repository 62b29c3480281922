// Two recordings of one forward, node by node.
#pragma once

#include <optional>
#include <string>

#include "capture/trace/tracer.h"

namespace monograph::trace {

/// The first place where two recordings differ.
struct Difference {
  std::string node;       ///< in the first recording; empty if it is shorter
  std::string op;         ///< target of that node
  std::string first;      ///< line of the first recording, or "(nothing)"
  std::string second;     ///< line of the second
  std::string path;       ///< region of forward
  std::string subject;    ///< the constant or weight concerned, if any
  bool constant = false;  ///< the graphs agree; a constant has other contents
  bool written = false;   ///< and host code wrote them into the tensor that both read
  bool replaced = false;  ///< a lasting tensor was exchanged for another one
};

/// nullopt if both do the same calls with the same arguments on equal constants. Constants are
/// equal if they are one memory or hold the same bytes.
std::optional<Difference> compare(const Recording& a, const Recording& b);

}  // namespace monograph::trace
