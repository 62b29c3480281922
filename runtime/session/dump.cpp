#include "runtime/session/dump.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <set>

#include "runtime/base/log.h"
#include "runtime/dump/folder.h"
#include "runtime/dump/write.h"
#include "runtime/inspect/snapshot.h"

namespace monograph::session {
namespace {

namespace fs = std::filesystem;

std::string dump_root(const Options& options) {
  if (!options.dump_path.empty()) return options.dump_path;
  const char* from_environment = std::getenv("MONOGRAPH_DUMP");
  return from_environment == nullptr ? "" : from_environment;
}

/// Whoever asked for dumps hears that there are none, once per place.
void warn_once(const std::string& root, const Options& options, const char* what) {
  static std::mutex mutex;
  static std::set<std::string> warned;
  const std::lock_guard lock(mutex);
  if (!warned.insert(root).second) return;
  base::log(base::LogLevel::kError, fmt::format("no dump of '{}': {}", options.name, what));
}

/// `write(folder)` in a new folder for this key, if dumps are wanted.
template <class Write>
void dump_into_folder(const Options& options, std::string_view key, Write write) noexcept {
  try {
    const std::string root = dump_root(options);
    if (root.empty()) return;
    try {
      write(
          dump::claim_folder(fs::path(root) / dump::file_name(options.name), dump::file_name(key)));
    } catch (const std::exception& e) {
      warn_once(root, options, e.what());
    }
  } catch (...) {
    // Out of memory: the call that compiles must not suffer for its dump.
  }
}

}  // namespace

void dump(const Executable& executable, const Options& options, std::string_view key) noexcept {
  dump_into_folder(options, key, [&](const fs::path& folder) {
    const auto snapshot = inspect::snapshot_of(executable, options.name, std::string(key));
    inspect::write_dump(executable, snapshot, folder.string());
    dump::write_file(folder / "report.txt", executable.report().to_string());
  });
}

void dump(const Rejection& rejection, const Options& options, std::string_view key) noexcept {
  dump_into_folder(options, key, [&](const fs::path& folder) {
    dump::Snapshot snapshot;
    snapshot.module = options.name;
    snapshot.key = key;
    snapshot.rejection = &rejection;
    dump::write(snapshot, folder);
  });
}

void save_package(const Program& program, const Options& options, std::string_view key) noexcept {
  const char* root = std::getenv("MONOGRAPH_AOT");
  if (root == nullptr || *root == '\0') return;
  try {
    const fs::path folder = fs::path(root) / dump::file_name(options.name);
    fs::create_directories(folder);
    const fs::path file = folder / (dump::file_name(key) + ".mono");
    if (!fs::exists(file)) program.save(file);
  } catch (const std::exception& e) {
    base::log(base::LogLevel::kWarning,
              fmt::format("no package of '{}': {}", options.name, e.what()));
  }
}

}  // namespace monograph::session
