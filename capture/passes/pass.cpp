// The registry. Function-local, so that registrations from any file find it constructed.
#include "capture/passes/pass.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include <cstdio>
#include <exception>
#include <map>
#include <utility>

namespace monograph::passes {
namespace {

using Registry = std::map<std::string, Pass, std::less<>>;

Registry& registry() {
  static Registry passes;
  return passes;
}

}  // namespace

Registration::Registration(Pass pass) {
  std::string name = pass.name;
  if (!registry().emplace(name, std::move(pass)).second) {
    std::fputs(fmt::format("monograph: two passes are registered as '{}'\n", name).c_str(), stderr);
    std::terminate();
  }
}

const Pass& find_pass(std::string_view name) {
  const auto it = registry().find(name);
  if (it != registry().end()) return it->second;
  throw Error(Code::kInvalidOption, fmt::format("unknown pass '{}'; known passes: {}", name,
                                                fmt::join(registered_passes(), ", ")));
}

std::vector<std::string> registered_passes() {
  std::vector<std::string> names;
  for (const auto& [name, pass] : registry()) names.push_back(name);
  return names;
}

}  // namespace monograph::passes
