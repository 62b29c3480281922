#include "bench/harness/host.h"

#include <fmt/format.h>
#include <monograph/version.h>
#include <sys/utsname.h>
#include <torch/version.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

namespace monograph::bench {
namespace {

/// What stands behind `key` and a colon in the lines of a file.
std::vector<std::string> fields(const char* file, const std::string& key) {
  std::vector<std::string> values;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const std::size_t colon = line.find(':');
    if (!line.starts_with(key) || colon == std::string::npos) continue;
    const std::size_t begin = line.find_first_not_of(" \t", colon + 1);
    values.push_back(begin == std::string::npos ? "" : line.substr(begin));
  }
  return values;
}

std::string host_text() {
  utsname system{};
  ::uname(&system);
  const auto names = fields("/proc/cpuinfo", "model name");
  return fmt::format("{}, {} cores, {} {}", names.empty() ? "unknown processor" : names.front(),
                     std::thread::hardware_concurrency(), system.sysname, system.release);
}

std::string now() {
  const std::time_t seconds = std::time(nullptr);
  std::array<char, 32> text{};
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%MZ", &parts);
  return text.data();
}

}  // namespace

BenchResult blank_result() {
  BenchResult result;
  result.date = now();
  result.host = host_text();
  result.clocks = clocks_text();
  result.monograph_version = MONOGRAPH_VERSION_STRING;
  result.torch_version = TORCH_VERSION;
  return result;
}

std::string clocks_text() {
  std::string text = "clocks unknown";
  std::vector<double> clocks;
  for (const std::string& mhz : fields("/proc/cpuinfo", "cpu MHz")) {
    clocks.push_back(std::strtod(mhz.c_str(), nullptr));
  }
  if (!clocks.empty()) {
    const auto [low, high] = std::ranges::minmax(clocks);
    text = fmt::format("{} cores at {:.0f} to {:.0f} MHz", clocks.size(), low, high);
  }
  std::array<double, 1> load{};
  if (::getloadavg(load.data(), 1) == 1) text += fmt::format(", load {:.2f}", load[0]);
  return text;
}

double available_memory() {
  constexpr double kKiB = 1024;
  const auto lines = fields("/proc/meminfo", "MemAvailable");
  return lines.empty() ? 0 : kKiB * std::strtod(lines.front().c_str(), nullptr);
}

std::string find_peer_script() {
  constexpr const char* kHere = "bench/peers/peer.py";
  if (std::filesystem::exists(kHere)) return kHere;
  const std::string built = MONOGRAPH_SOURCE_DIR "/" + std::string(kHere);
  return std::filesystem::exists(built) ? built : kHere;
}

}  // namespace monograph::bench
