// From kernel source to a loadable image: toolchains, cache, resource figures.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/registry.h"

namespace monograph::kernels {

/// What the compiler says a kernel uses. -1: not known for this architecture.
struct Resources {
  int registers = -1;
  int static_shared_bytes = -1;
  int local_bytes = -1;                   ///< stack frame and spills, bytes a thread
  int spill_stores = -1;                  ///< bytes
  int spill_loads = -1;                   ///< bytes
  double blocks_per_multiprocessor = -1;  ///< by registers, shared memory and threads
};

/// A compiled kernel. `image` goes to the driver's library loader as it is.
struct Compiled {
  std::vector<std::byte> image;
  std::string entry;
  Resources resources;
  double milliseconds = 0;  ///< compile time; 0 if it came from the cache
  bool from_cache = false;
};

/// Compiles for one family of architectures. `compile` throws Error(kInternal) whose message shows
/// the compiler's log with our source's line numbers.
struct Toolchain {
  std::string name;     ///< "nvrtc"
  std::string version;  ///< part of the cache key
  std::function<bool(std::string_view arch)> supports;
  std::function<Compiled(const Instance&, const std::string& arch)> compile;
};
struct ToolchainRegistration {
  explicit ToolchainRegistration(std::function<Toolchain()> make);  ///< made on first use
};
/// Error(kDeviceUnavailable) naming the architectures that can be compiled for.
const Toolchain& find_toolchain(std::string_view arch);

/// Compiles instances, `threads` at a time, through a disk cache.
///
/// The cache key covers source text with everything it includes, constants, options, architecture,
/// toolchain version and project version. Entries are written to a temporary file and renamed; a
/// lock file serialises writers across processes; a corrupt entry is detected by its checksum and
/// rebuilt. A directory that can't be written warns once and everything works without a cache.
/// Safe to call from many threads.
class Compiler {
 public:
  /// `directory` empty: MONOGRAPH_CACHE, else $XDG_CACHE_HOME/monograph, else ~/.cache/monograph;
  /// "none": no cache.
  explicit Compiler(std::string directory = {}, int threads = 2);

  /// In the order of `instances`; equal instances are compiled once. `nodes`, if given, says which
  /// node each is for, which the error of one that doesn't compile then names.
  std::vector<Compiled> compile(const std::vector<const Instance*>& instances,
                                const std::string& arch,
                                const std::vector<std::string>& nodes = {}) const;
  Compiled compile(const Instance& instance, const std::string& arch) const;

  const std::string& directory() const noexcept { return directory_; }

 private:
  std::string directory_;  ///< empty: no cache
  int threads_ = 2;
};

/// Hex digest of everything the compiled image depends on.
std::string cache_key(const Instance& instance, const std::string& arch,
                      const Toolchain& toolchain);

}  // namespace monograph::kernels
