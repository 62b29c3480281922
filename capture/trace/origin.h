// Where the calls being recorded come from, when something other than C++ code makes them.
#pragma once

#include <string>

namespace monograph::trace {

/// While alive, nodes recorded on this thread carry `source`, and those that stand for a whole call
/// of it are called `name`. An importer opens one for each node that it runs. Nests; not movable.
class Origin {
 public:
  Origin(std::string name, std::string source);
  ~Origin();
  Origin(const Origin&) = delete;
  Origin& operator=(const Origin&) = delete;

  /// The innermost one of this thread, or nullptr.
  static const Origin* current() noexcept;
  const std::string& name() const noexcept { return name_; }
  const std::string& source() const noexcept { return source_; }

 private:
  std::string name_;
  std::string source_;
  const Origin* outer_;
};

}  // namespace monograph::trace
