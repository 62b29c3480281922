#include "kernels/compile/cache.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <set>

#include "kernels/compile/digest.h"
#include "kernels/compile/folder_lock.h"
#include "runtime/base/log.h"

namespace monograph::kernels {
namespace {

namespace fs = std::filesystem;
constexpr char kMagic[] = "MGKC0001";

/// Fixed part of an entry; the entry name and the image follow.
struct Header {
  char magic[8];
  char digest[32];  // of everything behind the header
  Resources resources;
  std::uint64_t entry_bytes;
  std::uint64_t image_bytes;
};

void warn_once(const std::string& directory, const std::string& why) {
  static std::mutex mutex;
  static std::set<std::string> warned;
  const std::lock_guard lock(mutex);
  if (warned.insert(directory).second) {
    base::log(base::LogLevel::kWarning, "kernel cache '" + directory + "' is not used: " + why);
  }
}

std::string default_directory() {
  if (const char* dir = std::getenv("MONOGRAPH_CACHE")) return dir;
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg != nullptr && *xdg != '\0') {
    return std::string(xdg) + "/monograph";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    return std::string(home) + "/.cache/monograph";
  }
  return "none";
}

std::string digest_of(std::string_view entry, std::span<const std::byte> image,
                      const Resources& resources) {
  // Field by field: padding bytes have no defined content.
  const Resources& r = resources;
  std::string figures;
  for (const int v :
       {r.registers, r.static_shared_bytes, r.local_bytes, r.spill_stores, r.spill_loads}) {
    figures += std::to_string(v) + ",";
  }
  return Digest().add(entry).add(image).add(figures).hex();
}

}  // namespace

std::string cache_location(const std::string& requested) {
  const std::string directory = requested.empty() ? default_directory() : requested;
  return directory == "none" ? std::string() : directory;
}

std::string cache_directory(const std::string& requested) {
  const std::string directory = cache_location(requested);
  if (directory.empty()) return {};
  std::error_code error;
  fs::create_directories(directory, error);
  if (error || ::access(directory.c_str(), W_OK | X_OK) != 0) {
    warn_once(directory, error ? error.message() : "no permission to write");
    return {};
  }
  return directory;
}

std::optional<Compiled> cache_read(const std::string& directory, const std::string& key) {
  const fs::path path = fs::path(directory) / (key + ".bin");
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  Header h{};
  bool good = bytes.size() >= sizeof h;
  if (good) {
    std::memcpy(&h, bytes.data(), sizeof h);
    const std::uint64_t body = bytes.size() - sizeof h;
    good = std::memcmp(h.magic, kMagic, sizeof h.magic) == 0 && h.entry_bytes <= body &&
           h.image_bytes == body - h.entry_bytes;
  }
  if (good) {
    Compiled c;
    c.entry = bytes.substr(sizeof h, h.entry_bytes);
    c.image.resize(h.image_bytes);
    std::memcpy(c.image.data(), bytes.data() + sizeof h + h.entry_bytes, h.image_bytes);
    c.resources = h.resources;
    c.from_cache = true;
    const std::string digest = digest_of(c.entry, c.image, c.resources);
    if (std::memcmp(digest.data(), h.digest, sizeof h.digest) == 0) return c;
  }
  base::log(base::LogLevel::kWarning,
            "kernel cache entry '" + path.string() + "' is corrupt and will be rebuilt");
  std::error_code ignored;
  fs::remove(path, ignored);
  return std::nullopt;
}

void cache_write(const std::string& directory, const std::string& key, const Compiled& compiled) {
  const FolderLock lock(directory);
  Header h{};
  std::memcpy(h.magic, kMagic, sizeof h.magic);
  h.resources = compiled.resources;
  h.entry_bytes = compiled.entry.size();
  h.image_bytes = compiled.image.size();
  const std::string digest = digest_of(compiled.entry, compiled.image, h.resources);
  std::memcpy(h.digest, digest.data(), sizeof h.digest);

  const fs::path path = fs::path(directory) / (key + ".bin");
  const fs::path temporary =
      fs::path(directory) / (key + "." + std::to_string(::getpid()) + ".tmp");
  std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(&h), sizeof h);
  out.write(compiled.entry.data(), static_cast<std::streamsize>(compiled.entry.size()));
  out.write(reinterpret_cast<const char*>(compiled.image.data()),
            static_cast<std::streamsize>(compiled.image.size()));
  out.close();
  std::error_code error;
  if (out) fs::rename(temporary, path, error);
  if (!out || error) {
    warn_once(directory, error ? error.message() : "writing failed");
    std::error_code ignored;
    fs::remove(temporary, ignored);
  }
}

}  // namespace monograph::kernels
