// NVTX 3 is headers only: they load the profiler's library when the first range is opened.
#include "runtime/cuda/ranges.h"

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define MONOGRAPH_HAS_NVTX 1
#endif

#include <cstdlib>
#include <string>

namespace monograph::cuda {

bool ranges_wanted() noexcept {
  static const bool wanted = [] {
    const char* library = std::getenv("NVTX_INJECTION64_PATH");
    return library != nullptr && *library != '\0';
  }();
  return wanted;
}

#ifdef MONOGRAPH_HAS_NVTX
void open_range(std::string_view name) noexcept {
  try {
    nvtxRangePushA(std::string(name).c_str());
  } catch (...) {
    nvtxRangePushA("");  // out of memory; ranges must stay paired
  }
}
void close_range() noexcept {
  nvtxRangePop();
}
#else
void open_range(std::string_view) noexcept {}
void close_range() noexcept {}
#endif

}  // namespace monograph::cuda
