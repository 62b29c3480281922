#include "runtime/dump/folder.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>

namespace monograph::dump {
namespace {

namespace fs = std::filesystem;

bool is_safe(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '-' || c == '_' || c == '~';
}

[[noreturn]] void fail(const fs::path& file) {
  throw fs::filesystem_error("can't write", file, std::error_code(errno, std::generic_category()));
}

struct Close {
  void operator()(std::FILE* f) const noexcept { std::fclose(f); }
};

}  // namespace

std::string file_name(std::string_view name) {
  constexpr std::size_t kMaxBytes = 120;
  std::string out(name.substr(0, kMaxBytes));
  for (char& c : out) {
    if (!is_safe(c)) c = '_';
  }
  if (out.empty() || out.front() == '.') out.insert(out.begin(), '_');
  return out;
}

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

void write_file(const fs::path& file, std::string_view contents) {
  // "x": fails if the file exists, unlike a stream.
  std::unique_ptr<std::FILE, Close> out(std::fopen(file.c_str(), "wbx"));
  if (!out) fail(file);
  if (std::fwrite(contents.data(), 1, contents.size(), out.get()) != contents.size()) fail(file);
  if (std::fclose(out.release()) != 0) fail(file);
}

}  // namespace monograph::dump
