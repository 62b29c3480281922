#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "bench/harness/command.h"
#include "runtime/cli/command.h"
#include "runtime/cli/outcome.h"

namespace monograph::cli {
namespace {

struct BenchRequest {
  bench::BenchArguments arguments;
  std::vector<std::string> compare;
  std::vector<std::string> render;
};

int dispatch(CLI::App& app, BenchRequest& request, const std::string& command) {
  if (app.got_subcommand("compare")) {
    return bench::compare_files(request.compare[0], request.compare[1]);
  }
  if (app.got_subcommand("render")) return bench::render_files(request.render);
  if (request.arguments.models.empty()) {
    bench::list_models();
    throw Error(Code::kInvalidOption, "name a model, or compare or render result files");
  }
  return bench::run_bench(request.arguments, command);
}

std::function<int()> define_bench(CLI::App& app) {
  const auto request = std::make_shared<BenchRequest>();
  bench::define_bench(app, request->arguments);
  CLI::App* compare = app.add_subcommand("compare", "what changed between two result files");
  compare->add_option("FILE", request->compare, "before and after")->expected(2)->required();
  CLI::App* render = app.add_subcommand("render", "result files as Markdown");
  render->add_option("FILE", request->render)->required();
  return [&app, request] {
    std::string command = "monograph bench";
    for (const std::string& argument : typed()) command += " " + argument;
    return guarded([&] { return dispatch(app, *request, command); });
  };
}

const RegisterCommand kBench(
    {"bench", 3, "times models beside their peers, interleaved, after a check of their answers",
     "  monograph bench mlp bert-base --peers eager,compile,aoti,onnxruntime --json result.json\n"
     "  monograph bench llama-3.2-1b --dtype bf16 --length 512 --device cuda --bandwidth 4600\n"
     "  monograph bench compare before.json after.json\n"
     "  monograph bench render bench/results/*.json\n",
     define_bench});

}  // namespace
}  // namespace monograph::cli
