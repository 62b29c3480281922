#include <CLI/CLI.hpp>
#include <memory>

#include "runtime/cli/bisecting.h"
#include "runtime/cli/command.h"
#include "runtime/cli/options.h"

namespace monograph::cli {
namespace {

std::function<int()> define_minify(CLI::App& app) {
  const auto request = std::make_shared<Request>();
  const auto bisecting = std::make_shared<BisectRequest>();
  bisecting->folder = "minified";
  bisecting->trials = 5000;
  bisecting->seconds = 600;
  add_model_options(app, *request);
  app.add_option("--rtol", request->rtol, "relative tolerance")->capture_default_str();
  app.add_option("--atol", request->atol, "absolute tolerance")->capture_default_str();
  add_bisect_options(app, *bisecting);
  return [=] {
    return conclude(*request,
                    [&](Outcome& outcome) { bisect_model(*request, *bisecting, outcome); });
  };
}

const RegisterCommand kMinify({"minify", 5, "makes a reproducer smaller while it stays wrong",
                               "  monograph minify reproducer/ --reproducer smaller/\n"
                               "  monograph minify model.pt2 --trials 20000 --seconds 3600\n",
                               define_minify});

}  // namespace
}  // namespace monograph::cli
