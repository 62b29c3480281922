// The command `monograph`: runs, inspects, verifies, times and takes apart models.
#include <fmt/format.h>
#include <monograph/version.h>
#include <torch/version.h>

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "runtime/cli/command.h"
#include "runtime/cli/request.h"

namespace {

using monograph::cli::kOk;
using monograph::cli::kUsage;

constexpr const char* kExitCodes =
    "Exit codes: 0 done, and what was compared agrees; 1 failed or different; 2 the command line;\n"
    "3 the model can't be captured safely; 4 an operator, device or model that isn't there.\n";

/// The subcommand that was being parsed, or the program itself.
const CLI::App& parsed_part(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? app : parsed_part(*chosen.front());
}

std::string names_of_options(const CLI::App& app) {
  std::string names;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_lnames().empty()) names += " --" + option->get_lnames().front();
  }
  return names;
}

std::string commands_line() {
  std::string text = "commands are";
  for (const auto& command : monograph::cli::commands()) text += fmt::format(" {}", command.name);
  return text + "\n";
}

/// One or two lines: what is wrong, and what there is instead.
std::string explain(const CLI::App* app, const CLI::Error& error) {
  const CLI::App& part = parsed_part(*app);
  std::string text = fmt::format("error: {}\n", error.what());
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && part.get_parent() != nullptr) {
    text += fmt::format("'{}' has{}\n", part.get_name(), names_of_options(part));
  } else if (part.get_parent() == nullptr) {
    text += commands_line();
  }
  return text + fmt::format("'monograph {}{}--help' says more\n",
                            part.get_parent() == nullptr ? "" : part.get_name(),
                            part.get_parent() == nullptr ? "" : " ");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Captures, replays, times and takes apart models of LibTorch.", "monograph"};
  app.require_subcommand(1);
  app.failure_message(explain);
  app.set_version_flag(
      "--version", fmt::format("monograph {} (torch {})", MONOGRAPH_VERSION_STRING, TORCH_VERSION));
  app.footer(fmt::format("{}\nExample: monograph inspect minilm --device virtual", kExitCodes));
  std::map<std::string, std::function<int()>> runs;
  for (const auto& command : monograph::cli::commands()) {
    CLI::App* sub = app.add_subcommand(std::string(command.name), std::string(command.summary));
    sub->footer(fmt::format("Examples:\n{}\n{}", command.examples, kExitCodes));
    runs[sub->get_name()] = command.define(*sub);
  }
  if (argc > 1 && *argv[1] != '-' && !runs.contains(argv[1])) {
    fmt::print(stderr, "error: there is no command '{}'\n{}", argv[1], commands_line());
    return kUsage;
  }
  for (int i = 2; i < argc; ++i) monograph::cli::typed().emplace_back(argv[i]);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kUsage;
  }
  return runs.at(app.get_subcommands().front()->get_name())();
}
