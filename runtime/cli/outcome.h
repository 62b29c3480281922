// What a command found out: its exit code, and the JSON file that says it to programs.
#pragma once

#include <monograph/error.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "runtime/cli/request.h"

namespace monograph::cli {

struct Outcome {
  int exit = kOk;
  nlohmann::json report = nlohmann::json::object();
  /// Nothing but the JSON goes to standard output.
  bool quiet = false;

  void end(int code, const std::string& status, const std::string& reason);
  /// A refusal: status, and everything the rejection says.
  void refuse(const Rejection& rejection);
};

/// Runs `work` on a fresh outcome, turns what it throws into a status, prints that, and writes the
/// report where the request wants it. Returns the exit code.
int conclude(const Request& request, const std::function<void(Outcome&)>& work);

/// Runs `work`, whose result is an exit code; what it throws becomes a line on standard error and
/// the exit code that `conclude` would give it.
int guarded(const std::function<int()>& work);

/// Prints to standard output unless the outcome is quiet.
void say(const Outcome& outcome, const std::string& text);

}  // namespace monograph::cli
