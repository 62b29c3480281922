#include <monograph/error.h>

#include <algorithm>
#include <mutex>
#include <optional>

#include "kernels/compile/compiler.h"

namespace monograph::kernels {
namespace {

struct Entry {
  std::function<Toolchain()> make;
  std::optional<Toolchain> made;
};
struct Store {
  std::mutex mutex;
  std::vector<Entry> entries;
};
Store& store() {
  static Store s;
  return s;
}

}  // namespace

ToolchainRegistration::ToolchainRegistration(std::function<Toolchain()> make) {
  const std::lock_guard lock(store().mutex);
  // Addresses of made toolchains are handed out; registration happens before the first use.
  store().entries.push_back({std::move(make), std::nullopt});
}

const Toolchain& find_toolchain(std::string_view arch) {
  const std::lock_guard lock(store().mutex);
  std::string known;
  std::string why;
  for (Entry& e : store().entries) {
    try {
      if (!e.made) e.made = e.make();
    } catch (const Error& error) {
      why += std::string("; ") + error.what();
      continue;
    }
    if (e.made->supports(arch)) return *e.made;
    known += (known.empty() ? "" : ", ") + e.made->name;
  }
  throw Error(Code::kDeviceUnavailable, "no compiler for architecture '" + std::string(arch) +
                                            "' (have: " + (known.empty() ? "none" : known) + ")" +
                                            why);
}

}  // namespace monograph::kernels
