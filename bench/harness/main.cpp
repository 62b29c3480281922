// monograph_bench: what `monograph bench` is, as a program of its own for scripts.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "bench/harness/command.h"

namespace monograph::bench {
namespace {

constexpr int kFailed = 1, kUsage = 2;

int run(int argc, char** argv) {
  BenchArguments arguments;
  bool list = false;
  std::vector<std::string> compare, render;
  CLI::App app("Times models on Monograph beside their peers, interleaved, after a check.",
               "monograph_bench");
  define_bench(app, arguments);
  app.add_flag("--list", list, "lists the models");
  app.add_option("--compare", compare, "two result files: what changed beyond noise")->expected(2);
  app.add_option("--render", render, "result files as Markdown");
  app.footer("Example: monograph_bench mlp bert-base --peers eager,compile --json result.json");
  CLI11_PARSE(app, argc, argv);
  if (list) {
    list_models();
    return 0;
  }
  if (!compare.empty()) return compare_files(compare[0], compare[1]);
  if (!render.empty()) return render_files(render);
  if (arguments.models.empty()) {
    fmt::print(stderr, "error: name a model, or --list, --compare or --render\n");
    return kUsage;
  }
  return run_bench(arguments, spell_command("monograph_bench", argc, argv));
}

}  // namespace
}  // namespace monograph::bench

int main(int argc, char** argv) {
  try {
    return monograph::bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return monograph::bench::kFailed;
  } catch (...) {
    return monograph::bench::kFailed;
  }
}
