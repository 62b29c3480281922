#include "runtime/base/log.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

namespace monograph::base {
namespace {

constexpr std::array<std::pair<std::string_view, LogLevel>, 5> kLevels{{
    {"off", LogLevel::kOff},
    {"error", LogLevel::kError},
    {"warning", LogLevel::kWarning},
    {"info", LogLevel::kInfo},
    {"debug", LogLevel::kDebug},
}};

void print(std::string_view level, std::string_view message) noexcept {
  try {
    std::string line = "monograph ";
    line.append(level).append(": ").append(message).append("\n");
    std::fwrite(line.data(), 1, line.size(), stderr);
  } catch (...) {
    // Out of memory while logging: the message is lost, the program isn't.
  }
}

LogLevel level_from_environment() noexcept {
  const char* value = std::getenv("MONOGRAPH_LOG");
  if (value == nullptr || *value == '\0') return LogLevel::kError;
  if (const auto level = log_level_from_name(value)) return *level;
  print("warning", "MONOGRAPH_LOG must be off, error, warning, info or debug; using error");
  return LogLevel::kError;
}

}  // namespace

std::optional<LogLevel> log_level_from_name(std::string_view name) noexcept {
  for (const auto& [spelling, level] : kLevels) {
    if (spelling == name) return level;
  }
  return std::nullopt;
}

LogLevel log_level() noexcept {
  static const LogLevel level = level_from_environment();
  return level;
}

void log(LogLevel level, std::string_view message) noexcept {
  if (!log_enabled(level)) return;
  print(kLevels[static_cast<std::size_t>(level)].first, message);
}

}  // namespace monograph::base
