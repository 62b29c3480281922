// Finds what makes results differ, and writes the smallest part that shows it.
#pragma once

#include <string>

#include "runtime/cli/outcome.h"
#include "runtime/cli/request.h"

namespace CLI {
class App;
}

namespace monograph::cli {

struct BisectRequest {
  std::string folder = "reproducer";  ///< written beside others of that name, never over them
  int trials = 600;
  double seconds = 120;
};

void add_bisect_options(CLI::App& app, BisectRequest& request);

/// Bisects the model; what is found is printed, written as a reproducer, and fails the outcome.
void bisect_model(const Request& request, const BisectRequest& how, Outcome& outcome);

}  // namespace monograph::cli
