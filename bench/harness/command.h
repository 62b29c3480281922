// The benchmark as a command: `monograph bench` and monograph_bench are this.
#pragma once

#include <string>
#include <vector>

#include "bench/harness/run.h"

namespace CLI {
class App;
}

namespace monograph::bench {

struct BenchArguments {
  std::vector<std::string> models;
  std::string device = "auto", dtype = "f32";
  ModelOptions model;
  BenchSettings settings;
  std::string json, csv, markdown;
  std::vector<std::string> passes;           ///< of ours; empty: what the device wants
  std::vector<std::string> backend_options;  ///< of ours, "NAME=VALUE"
  bool stream = false;                       ///< ours launch by launch
  double bandwidth = 0;                      ///< GB/s
  int threads = 0;                           ///< of every contender; 0: as many as LibTorch takes
};

/// Options of a run; `arguments` must outlive parsing.
void define_bench(CLI::App& app, BenchArguments& arguments);

/// Times the models, prints a table and writes the files asked for. 0; 1 if our own answers are
/// wrong or there are none; 3 if a model is refused. Throws Error: kInvalidOption lists the models,
/// peers or types there are.
int run_bench(BenchArguments& arguments, const std::string& command);

/// Prints what changed from one result file to another. 1 if ours got slower, wrong or missing.
int compare_files(const std::string& before, const std::string& after);

/// Prints result files as Markdown.
int render_files(const std::vector<std::string>& files);

/// Prints the models.
void list_models();

/// "monograph bench mlp": what was typed, without the program's path.
std::string spell_command(const std::string& program, int argc, const char* const* argv);

}  // namespace monograph::bench
