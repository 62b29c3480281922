#include "runtime/cuda/backend/provider.h"

#include <dlfcn.h>

#include <mutex>

#include "runtime/base/log.h"

namespace monograph::cuda {
namespace {

struct Store {
  std::mutex mutex;
  std::vector<std::unique_ptr<AtenProvider>> providers;
};
Store& store() {
  static Store s;
  return s;
}

/// LibTorch's CUDA half comes in a library of its own, beside this one; opened once.
void load_torch_provider() {
  static const bool loaded = [] {
    if (dlopen("libmonograph_aten_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr) return true;
    const char* why = dlerror();
    base::log(base::LogLevel::kWarning, std::string("LibTorch's CUDA kernels are not available: ") +
                                            (why != nullptr ? why : "unknown"));
    return false;
  }();
  (void)loaded;
}

}  // namespace

AtenProviderRegistration::AtenProviderRegistration(std::unique_ptr<AtenProvider> provider) {
  const std::lock_guard lock(store().mutex);
  store().providers.push_back(std::move(provider));
}

const AtenProvider* find_aten_provider(const Driver& driver) {
  if (driver.library() == Driver::kDefaultLibrary) load_torch_provider();
  const std::lock_guard lock(store().mutex);
  for (const auto& p : store().providers) {
    if (p->serves(driver)) return p.get();
  }
  return nullptr;
}

}  // namespace monograph::cuda
