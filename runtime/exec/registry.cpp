#include <fmt/format.h>
#include <fmt/ranges.h>
#include <monograph/error.h>

#include <algorithm>
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

namespace {

/// Refuses options of another back end, and those that `backend` doesn't know.
void check_backend_options(const Options& options, const Backend& backend) {
  for (const auto& [key, value] : options.backend_options) {
    const std::size_t dot = key.find('.');
    const std::string owner = key.substr(0, dot);
    if (owner != backend.name) {
      throw Error(
          Code::kInvalidOption,
          fmt::format("option '{}' is for back end '{}', but '{}' runs", key, owner, backend.name));
    }
    const std::string name = dot == std::string::npos ? "" : key.substr(dot + 1);
    if (std::ranges::find(backend.option_names, name) != backend.option_names.end()) continue;
    throw Error(Code::kInvalidOption,
                fmt::format("back end '{}' has no option '{}'; it has: {}", backend.name, name,
                            backend.option_names.empty()
                                ? "none"
                                : fmt::format("{}", fmt::join(backend.option_names, ", "))));
  }
  if (!options.cuda_driver.empty() && backend.name != "cuda" && options.backend != "auto") {
    throw Error(
        Code::kInvalidOption,
        fmt::format("option 'cuda_driver' is for back end 'cuda', but '{}' runs", backend.name));
  }
}

}  // namespace

const Backend& chosen_backend(const Options& options, bool tensors_on_cuda) {
  const Backend* backend = options.backend_object.get();
  if (backend != nullptr && options.backend != "auto") {
    throw Error(Code::kInvalidOption,
                fmt::format("both a back end object ('{}') and the name '{}' are given",
                            backend->name, options.backend));
  }
  if (backend == nullptr) {
    const std::string name =
        options.backend != "auto" ? options.backend : (tensors_on_cuda ? "cuda" : "host");
    backend = &find_backend(name);
  }
  check_backend_options(options, *backend);
  return *backend;
}

void check_options(const Options& options) {
  const bool known = options.backend != "auto" || options.backend_object != nullptr;
  if (known) (void)chosen_backend(options, false);
}

std::vector<std::string> registered_backends() {
  std::vector<std::string> names;
  for (const auto& [name, backend] : backends()) names.push_back(name);
  return names;
}

}  // namespace monograph::exec
