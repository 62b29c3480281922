// What tuning has found out, on disk: one small text file per problem.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace monograph::cuda {

/// The alternatives of one problem and how long each took; fastest first.
struct TuningEntry {
  struct Timed {
    std::string name;
    double microseconds = 0;
    bool operator==(const Timed&) const = default;
  };
  std::vector<Timed> timed;
  const std::string& winner() const { return timed.front().name; }
  bool operator==(const TuningEntry&) const = default;
};

/// Entries by key. A key says everything that a time depends on: problem, GPU, driver, library.
/// Thread-safe; several processes may share a directory: files appear by rename, under a lock.
class TuningCache {
 public:
  /// `directory` as for compiled kernels: empty for the usual one, "none" for memory alone. Entries
  /// lie in its folder "tuning". One that can't be written is warned about once and then only read.
  explicit TuningCache(const std::string& directory = {});

  /// Also what another process has stored meanwhile. A corrupt file counts as absent, is warned
  /// about and removed.
  std::optional<TuningEntry> find(const std::string& key);
  /// Keeps `entry`, which has at least one alternative, in memory and, if it can, on disk.
  void store(const std::string& key, const TuningEntry& entry);

  /// Folder of the files; empty: memory alone.
  const std::string& folder() const noexcept { return folder_; }
  std::string path_of(const std::string& key) const;

 private:
  bool writable_ = false;  // set while folder_ is
  std::string folder_;
  std::mutex mutex_;
  std::map<std::string, TuningEntry> known_;
};

/// The form on disk, ended by a checksum; for tests and people.
std::string text(const std::string& key, const TuningEntry& entry);
/// nullopt if `text` isn't an intact entry of `key`.
std::optional<TuningEntry> parse_entry(const std::string& text, const std::string& key);

}  // namespace monograph::cuda
