// Options that several subcommands share.
#pragma once

#include <functional>
#include <string>

#include "runtime/cli/request.h"

namespace CLI {
class App;
}

namespace monograph::cli {

/// MODEL, device, inputs and what built-in models are made with. `request` must outlive parsing.
void add_model_options(CLI::App& app, Request& request);
/// --output, --compare, tolerances, --repeat.
void add_result_options(CLI::App& app, Request& request);

}  // namespace monograph::cli
