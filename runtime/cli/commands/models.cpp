#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "bench/models/zoo/zoo.h"
#include "runtime/cli/command.h"
#include "runtime/cli/request.h"

namespace monograph::cli {
namespace {

std::function<int()> define_models(CLI::App&) {
  return [] {
    for (const auto& entry : bench::models()) {
      fmt::print("{:<14} {}\n", entry.name, entry.description);
    }
    return static_cast<int>(kOk);
  };
}

const RegisterCommand kModels({"models", 6, "lists the built-in models", "  monograph models\n",
                               define_models});

}  // namespace
}  // namespace monograph::cli
