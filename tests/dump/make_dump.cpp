// Writes dumps for browser_test.py and for looking at: make_dump KIND FOLDER, with KIND one of
// small, large, hostile, rejected, or the name of a file with graph text.
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>

#include "capture/ir/text.h"
#include "runtime/dump/write.h"
#include "tests/dump/models.h"

namespace {

using monograph::dump::testing::Made;

/// Times that a profile might have found: the same for the same node, different between nodes.
void add_times(Made& made) {
  double us = 1;
  for (const auto& launch : made.lowered->launches) {
    us = us * 1.7 > 400 ? 2.5 : us * 1.7;
    made.snapshot.measured_us[launch.node->name()] = us;
  }
}

Made make_kind(const std::string& kind) {
  namespace t = monograph::dump::testing;
  if (kind == "hostile") return t::hostile();
  if (kind == "rejected") return t::rejected();
  constexpr int kSmall = 2;
  constexpr int kLarge = 60;  // 2,000 nodes and more after all passes
  if (kind == "small" || kind == "large") {
    Made made = t::make(t::encoder(kind == "small" ? kSmall : kLarge), kind);
    add_times(made);
    return made;
  }
  std::ifstream file(kind);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  return t::make(monograph::ir::parse(text), std::filesystem::path(kind).stem());
}

}  // namespace

int main(int argc, char** argv) {
  const std::span<char*> arguments(argv, static_cast<std::size_t>(argc));
  if (arguments.size() != 3) {
    std::fputs("usage: make_dump small|large|hostile|rejected|FILE FOLDER\n", stderr);
    return 2;
  }
  try {
    const Made made = make_kind(arguments[1]);
    std::filesystem::create_directories(arguments[2]);
    monograph::dump::write(made.snapshot, arguments[2]);
  } catch (const std::exception& e) {
    std::fputs(fmt::format("make_dump: {}\n", e.what()).c_str(), stderr);
    return 1;
  }
  return 0;
}
