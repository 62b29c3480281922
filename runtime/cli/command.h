// Subcommands of `monograph`: one file each in runtime/cli/commands, self-registered.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace monograph::cli {

struct Command {
  std::string_view name;
  int place = 0;  ///< in the list that --help shows
  std::string_view summary;
  std::string_view examples;  ///< lines under its own --help
  /// Adds options and returns what runs if this command was chosen; that returns an Exit.
  std::function<int()> (*define)(CLI::App& app) = nullptr;
};

/// Registers at static initialisation.
struct RegisterCommand {
  explicit RegisterCommand(const Command& command);
};

/// In the order of `place`.
const std::vector<Command>& commands();

/// What was typed behind the name of the command; main sets it.
std::vector<std::string>& typed();

}  // namespace monograph::cli
