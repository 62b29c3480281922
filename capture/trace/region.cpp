#include <monograph/region.h>

#include <cstddef>
#include <vector>

namespace monograph {
namespace {

/// The dotted path of this thread's open regions, and where each one begins in it.
struct RegionStack {
  std::string path;
  std::vector<std::size_t> ends;
};

RegionStack& stack() {
  static thread_local RegionStack regions;
  return regions;
}

}  // namespace

Region::Region(std::string_view name) {
  RegionStack& regions = stack();
  regions.ends.push_back(regions.path.size());
  if (!regions.path.empty() && !name.empty()) regions.path += '.';
  regions.path += name;
}

Region::~Region() {
  RegionStack& regions = stack();
  regions.path.resize(regions.ends.back());
  regions.ends.pop_back();
}

std::string Region::current() {
  return stack().path;
}

}  // namespace monograph
