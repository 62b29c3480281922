#include <fmt/format.h>
#include <fmt/ranges.h>
#include <monograph/error.h>

#include <cstdio>
#include <cstdlib>

#include "runtime/exec/backend.h"

namespace monograph::exec {
namespace {

std::map<std::string, Backend, std::less<>>& backends() {
  static std::map<std::string, Backend, std::less<>> map;
  return map;
}

}  // namespace

BackendRegistration::BackendRegistration(Backend backend) {
  const std::string name = backend.name;
  if (!backends().emplace(name, std::move(backend)).second) {
    std::fprintf(stderr, "monograph: back end '%s' is registered twice\n", name.c_str());
    std::abort();
  }
}

const Backend& find_backend(std::string_view name) {
  const auto it = backends().find(name);
  if (it == backends().end()) {
    throw Error(Code::kInvalidOption, fmt::format("unknown back end '{}'; there are: auto, {}",
                                                  name, fmt::join(registered_backends(), ", ")));
  }
  return it->second;
}

std::vector<std::string> registered_backends() {
  std::vector<std::string> names;
  for (const auto& [name, backend] : backends()) names.push_back(name);
  return names;
}

}  // namespace monograph::exec
