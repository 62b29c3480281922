#include "runtime/cuda/tune/cache.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string_view>

#include "kernels/compile/cache.h"
#include "kernels/compile/digest.h"
#include "kernels/compile/folder_lock.h"
#include "runtime/base/log.h"

namespace monograph::cuda {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kMagic = "monograph tuning 1\n";
constexpr std::string_view kSum = "sum ";

void warn_once(const std::string& folder, const std::string& why) {
  static std::mutex mutex;
  static std::set<std::string> warned;
  const std::lock_guard lock(mutex);
  if (!warned.insert(folder).second) return;
  base::log(base::LogLevel::kWarning,
            fmt::format("tuning cache '{}' is not written: {}; what is tuned now is tuned again by "
                        "the next process",
                        folder, why));
}

/// Reading needs no permission to write; making the folder does.
std::string open_folder(const std::string& requested, bool& writable) {
  const std::string root = kernels::cache_location(requested);
  if (root.empty()) return {};
  const std::string folder = root + "/tuning";
  std::error_code error;
  fs::create_directories(folder, error);
  writable = !error && ::access(folder.c_str(), W_OK | X_OK) == 0;
  if (!writable) warn_once(folder, error ? error.message() : "no permission to write");
  return fs::is_directory(folder, error) ? folder : std::string();
}

/// The line that `rest` begins with, taken off it; nullopt at the end.
std::optional<std::string_view> next_line(std::string_view& rest) {
  const std::size_t end = rest.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(end + 1);
  return line;
}

/// "12.345 name".
std::optional<TuningEntry::Timed> parse_timed(std::string_view line) {
  TuningEntry::Timed t;
  const char* const end = line.data() + line.size();
  const auto [at, error] = std::from_chars(line.data(), end, t.microseconds);
  if (error != std::errc() || !std::isfinite(t.microseconds) || at == end || *at != ' ') {
    return std::nullopt;
  }
  t.name.assign(at + 1, end);
  return t;
}

}  // namespace

std::string text(const std::string& key, const TuningEntry& entry) {
  std::string s(kMagic);
  s += key + "\n";
  for (const TuningEntry::Timed& t : entry.timed) {
    s += fmt::format("{:.3f} {}\n", t.microseconds, t.name);
  }
  return s + fmt::format("{}{}\n", kSum, kernels::Digest().add(s).hex());
}

std::optional<TuningEntry> parse_entry(const std::string& text, const std::string& key) {
  const std::size_t sum = text.rfind(kSum);
  if (!text.starts_with(kMagic) || sum == std::string::npos) return std::nullopt;
  const std::string body = text.substr(0, sum);
  if (text.substr(sum) != fmt::format("{}{}\n", kSum, kernels::Digest().add(body).hex())) {
    return std::nullopt;
  }
  std::string_view rest = std::string_view(body).substr(kMagic.size());
  if (next_line(rest) != key) return std::nullopt;
  TuningEntry entry;
  while (const auto line = next_line(rest)) {
    auto timed = parse_timed(*line);
    if (!timed) return std::nullopt;
    entry.timed.push_back(std::move(*timed));
  }
  if (entry.timed.empty()) return std::nullopt;
  return entry;
}

TuningCache::TuningCache(const std::string& directory)
    : folder_(open_folder(directory, writable_)) {}

std::string TuningCache::path_of(const std::string& key) const {
  return folder_ + "/" + kernels::Digest().add(key).hex() + ".txt";
}

std::optional<TuningEntry> TuningCache::find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  if (const auto known = known_.find(key); known != known_.end()) return known->second;
  if (folder_.empty()) return std::nullopt;
  const std::string path = path_of(key);
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  const std::string content{std::istreambuf_iterator<char>(in), {}};
  auto entry = parse_entry(content, key);
  if (entry) {
    known_.emplace(key, *entry);
    return entry;
  }
  base::log(base::LogLevel::kWarning,
            fmt::format("tuning entry '{}' is corrupt and will be made again", path));
  std::error_code ignored;
  fs::remove(path, ignored);
  return std::nullopt;
}

void TuningCache::store(const std::string& key, const TuningEntry& entry) {
  const std::lock_guard lock(mutex_);
  known_[key] = entry;
  if (!writable_) return;
  const kernels::FolderLock shared(folder_);
  const std::string path = path_of(key);
  const std::string temporary = fmt::format("{}.{}.tmp", path, ::getpid());
  std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
  out << text(key, entry);
  out.close();
  std::error_code error;
  if (out) fs::rename(temporary, path, error);
  if (!out || error) {
    warn_once(folder_, error ? error.message() : "writing failed");
    writable_ = false;
    std::error_code ignored;
    fs::remove(temporary, ignored);
  }
}

}  // namespace monograph::cuda
