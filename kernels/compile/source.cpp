#include "kernels/compile/source.h"

#include <monograph/error.h>

#include <algorithm>

namespace monograph::kernels {
namespace {

/// Names in `#include "..."` lines of `text`, in order.
std::vector<std::string> includes(const std::string& text) {
  std::vector<std::string> names;
  std::size_t at = 0;
  while ((at = text.find("#include \"", at)) != std::string::npos) {
    at += 10;
    const std::size_t end = text.find('"', at);
    if (end == std::string::npos) break;
    names.push_back(text.substr(at, end - at));
    at = end;
  }
  return names;
}

void collect(const std::string& text, SourceSet& set) {
  for (const std::string& name : includes(text)) {
    const auto known = std::any_of(set.headers.begin(), set.headers.end(),
                                   [&name](const auto& h) { return h.first == name; });
    if (known) continue;
    if (const std::string* header = embedded_source(name)) {
      set.headers.emplace_back(name, header);
      collect(*header, set);
    }
  }
}

}  // namespace

SourceSet source_set(const Instance& instance) {
  SourceSet set;
  set.name = instance.source;
  if (!instance.text.empty()) {
    set.text = instance.text;
  } else if (const std::string* embedded = embedded_source(instance.source)) {
    set.text = *embedded;
  } else {
    throw Error(Code::kInternal,
                "kernel '" + instance.kernel + "' names unknown source '" + instance.source + "'");
  }
  collect(set.text, set);
  return set;
}

}  // namespace monograph::kernels
