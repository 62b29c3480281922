#include "runtime/session/dump.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "runtime/base/log.h"

namespace monograph::session {
namespace {

namespace fs = std::filesystem;

std::string dump_root(const Options& options) {
  if (!options.dump_path.empty()) return options.dump_path;
  const char* from_environment = std::getenv("MONOGRAPH_DUMP");
  return from_environment == nullptr ? "" : from_environment;
}

/// Characters that are safe in a file name everywhere; others become '_'.
std::string file_name(std::string_view name) {
  std::string out(name);
  for (char& c : out) {
    const bool safe = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '-' || c == '_' || c == '~';
    if (!safe) c = '_';
  }
  if (out.empty() || out.front() == '.') out.insert(out.begin(), '_');
  return out;
}

/// Creates and returns a folder that did not exist; creating it is what claims it.
fs::path claim_folder(const fs::path& parent, const std::string& name) {
  fs::create_directories(parent);
  constexpr int kTries = 10000;
  for (int i = 1; i <= kTries; ++i) {
    fs::path folder = parent / (i == 1 ? name : fmt::format("{}-{}", name, i));
    if (fs::create_directory(folder)) return folder;
  }
  throw fs::filesystem_error("too many dumps", parent / name,
                             std::make_error_code(std::errc::file_exists));
}

void write_text(const fs::path& file, const std::string& text) {
  std::ofstream out(file);
  out << text;
  out.close();
  if (!out) {
    throw fs::filesystem_error("can't write", file, std::make_error_code(std::errc::io_error));
  }
}

}  // namespace

void dump(const Executable& executable, const Options& options, std::string_view key) noexcept {
  try {
    const std::string root = dump_root(options);
    if (root.empty()) return;
    const fs::path folder = claim_folder(fs::path(root) / file_name(options.name), file_name(key));
    executable.program().dump(folder.string());  // logs its own failures
    for (const char* stage : {"launches", "plan"}) {
      write_text(folder / fmt::format("{}.txt", stage), executable.dump(stage));
    }
    write_text(folder / "report.txt", executable.report().to_string());
  } catch (const std::exception& e) {
    base::log(base::LogLevel::kWarning, fmt::format("no dump of '{}': {}", options.name, e.what()));
  }
}

void dump(const Rejection& rejection, const Options& options, std::string_view key) noexcept {
  try {
    const std::string root = dump_root(options);
    if (root.empty()) return;
    const fs::path folder = claim_folder(fs::path(root) / file_name(options.name), file_name(key));
    write_text(folder / "rejection.txt", rejection.to_string() + "\n");
  } catch (const std::exception& e) {
    base::log(base::LogLevel::kWarning, fmt::format("no dump of '{}': {}", options.name, e.what()));
  }
}

void save_package(const Program& program, const Options& options, std::string_view key) noexcept {
  const char* root = std::getenv("MONOGRAPH_AOT");
  if (root == nullptr || *root == '\0') return;
  try {
    const fs::path folder = fs::path(root) / file_name(options.name);
    fs::create_directories(folder);
    const fs::path file = folder / (file_name(key) + ".mono");
    if (!fs::exists(file)) program.save(file);
  } catch (const std::exception& e) {
    base::log(base::LogLevel::kWarning,
              fmt::format("no package of '{}': {}", options.name, e.what()));
  }
}

}  // namespace monograph::session
