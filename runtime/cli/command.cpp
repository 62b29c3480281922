#include "runtime/cli/command.h"

#include <algorithm>

namespace monograph::cli {
namespace {

std::vector<Command>& all() {
  static std::vector<Command> list;
  return list;
}

}  // namespace

RegisterCommand::RegisterCommand(const Command& command) {
  const auto place = std::ranges::upper_bound(all(), command.place, {}, &Command::place);
  all().insert(place, command);
}

std::vector<std::string>& typed() {
  static std::vector<std::string> arguments;
  return arguments;
}

const std::vector<Command>& commands() {
  return all();
}

}  // namespace monograph::cli
