// Names a region of forward so that nodes, rejections and dumps can say where they come from.
#pragma once

#include <string>
#include <string_view>

namespace monograph {

/// While alive, nodes recorded on this thread carry the joined path of all open regions
/// ("encoder.layer.0"). Costs a thread-local push outside a trace. Not movable; nest strictly.
class Region {
 public:
  explicit Region(std::string_view name);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  /// Dotted path of the regions open on this thread, empty if none.
  static std::string current();
};

}  // namespace monograph
