#include "runtime/cuda/library/math_library.h"

#include <dlfcn.h>
#include <monograph/error.h>

#include <mutex>

#include "runtime/base/log.h"

namespace monograph::cuda {
namespace {

struct Store {
  std::mutex mutex;
  std::vector<MathLibraryMaker> makers;
};
Store& store() {
  static Store s;
  return s;
}

}  // namespace

MathLibraryRegistration::MathLibraryRegistration(MathLibraryMaker maker) {
  const std::lock_guard lock(store().mutex);
  store().makers.push_back(std::move(maker));
}

std::vector<std::shared_ptr<MathLibrary>> open_math_libraries(const ContextRef& context) {
  std::vector<MathLibraryMaker> makers;
  {
    const std::lock_guard lock(store().mutex);
    makers = store().makers;
  }
  std::vector<std::shared_ptr<MathLibrary>> libraries;
  for (const MathLibraryMaker& maker : makers) {
    if (!maker.serves(context->driver())) continue;
    try {
      libraries.push_back(maker.open(context));
    } catch (const Error& e) {
      if (e.code() != Code::kDeviceUnavailable) throw;
      base::log(base::LogLevel::kWarning, maker.name + " is not used: " + e.what());
    }
  }
  return libraries;
}

namespace detail {

void* open_library(const std::string& path, const std::string& what) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library != nullptr) return library;
  const char* why = dlerror();
  throw Error(Code::kDeviceUnavailable,
              what + " can't be loaded: " + (why != nullptr ? why : "unknown"));
}

void* entry_point(void* library, const std::string& name, const std::string& what) {
  void* const at = dlsym(library, name.c_str());
  if (at == nullptr) throw Error(Code::kDeviceUnavailable, what + " has no " + name);
  return at;
}

}  // namespace detail
}  // namespace monograph::cuda
