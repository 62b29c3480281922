// Messages for people, on stderr, by level. MONOGRAPH_LOG chooses how many; see options.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace monograph::base {

enum class LogLevel : std::uint8_t { kOff, kError, kWarning, kInfo, kDebug };

/// "off", "error", "warning", "info" or "debug"; nullopt for anything else.
std::optional<LogLevel> log_level_from_name(std::string_view name) noexcept;

/// The level that MONOGRAPH_LOG names, read once; kError if unset. An unknown name is reported once
/// and counts as unset.
LogLevel log_level() noexcept;

/// True if a message of `level` would be printed: lets callers skip composing it.
inline bool log_enabled(LogLevel level) noexcept {
  return level != LogLevel::kOff && level <= log_level();
}

/// Prints "monograph <level>: <message>\n" with one write, so lines of several threads don't mix.
void log(LogLevel level, std::string_view message) noexcept;

}  // namespace monograph::base
