#include "runtime/cuda/backend/provider.h"

#include <mutex>

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

}  // namespace

AtenProviderRegistration::AtenProviderRegistration(std::unique_ptr<AtenProvider> provider) {
  const std::lock_guard lock(store().mutex);
  store().providers.push_back(std::move(provider));
}

const AtenProvider* find_aten_provider(const Driver& driver) {
  const std::lock_guard lock(store().mutex);
  for (const auto& p : store().providers) {
    if (p->serves(driver)) return p.get();
  }
  return nullptr;
}

}  // namespace monograph::cuda
