// Completion of commands and options for shells; CLI11 has none of its own.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "bench/models/zoo/zoo.h"
#include "runtime/cli/command.h"
#include "runtime/cli/request.h"

namespace monograph::cli {
namespace {

std::string options_of(const CLI::App& app) {
  std::string names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names += "--" + name + " ";
  }
  return names;
}

/// For bash; zsh takes it after 'autoload -U +X bashcompinit && bashcompinit'.
std::string bash_script(const CLI::App& root) {
  std::string models;
  for (const auto& entry : bench::models()) models += std::string(entry.name) + " ";
  std::string commands, cases;
  for (const CLI::App* sub : root.get_subcommands([](const CLI::App*) { return true; })) {
    commands += sub->get_name() + " ";
    cases += fmt::format("    {}) words='{}' ;;\n", sub->get_name(), options_of(*sub));
  }
  return fmt::format(
      "_monograph() {{\n"
      "  local word=${{COMP_WORDS[COMP_CWORD]}} words='{0}--help --version'\n"
      "  case ${{COMP_WORDS[1]}} in\n{1}  esac\n"
      "  [ \"$COMP_CWORD\" -gt 1 ] || words='{0}--help --version'\n"
      "  [ \"$COMP_CWORD\" -eq 1 ] || [[ $word == -* ]] || words='{2}'\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
      "  [ \"$COMP_CWORD\" -eq 1 ] || COMPREPLY+=($(compgen -f -- \"$word\"))\n"
      "}}\n"
      "complete -o filenames -F _monograph monograph\n",
      commands, cases, models);
}

std::function<int()> define_completion(CLI::App& app) {
  const auto shell = std::make_shared<std::string>("bash");
  app.add_option("SHELL", *shell, "bash or zsh")
      ->check(CLI::IsMember({"bash", "zsh"}))
      ->capture_default_str();
  return [&app, shell] {
    if (*shell == "zsh") fmt::print("autoload -U +X bashcompinit && bashcompinit\n");
    fmt::print("{}", bash_script(*app.get_parent()));
    return static_cast<int>(kOk);
  };
}

const RegisterCommand kCompletion({"completion", 7,
                                   "prints a script that completes commands and options",
                                   "  source <(monograph completion bash)\n", define_completion});

}  // namespace
}  // namespace monograph::cli
