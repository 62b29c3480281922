#include "runtime/base/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <utility>

#include "runtime/base/log.h"

namespace monograph::base {

Progress::Progress(std::string what, Sink sink, Clock clock)
    : what_(std::move(what)), sink_(std::move(sink)), clock_(std::move(clock)), start_(clock_()) {}

void Progress::step(std::string_view done) {
  const std::chrono::duration<double> elapsed = clock_() - start_;
  if (elapsed.count() <= 1 || !sink_) return;
  sink_(fmt::format("{}: {} ({:.1f} s)", what_, done, elapsed.count()));
}

Progress::Sink Progress::default_sink() {
  if (log_enabled(LogLevel::kInfo)) {
    return [](std::string_view line) { log(LogLevel::kInfo, line); };
  }
  if (log_level() == LogLevel::kOff || isatty(STDERR_FILENO) == 0) return {};
  return [](std::string_view line) {
    const std::string text = fmt::format("monograph: {}\n", line);
    std::fwrite(text.data(), 1, text.size(), stderr);
  };
}

std::string spell_bytes(double bytes) {
  constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  constexpr double kStep = 1024;
  std::size_t unit = 0;
  while (bytes >= kStep && unit + 1 < kUnits.size()) {
    bytes /= kStep;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

}  // namespace monograph::base
