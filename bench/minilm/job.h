// The main job: MiniLM captured, planned, replayed and compared.
#pragma once

#include <monograph/compiled_module.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "bench/minilm/batch.h"
#include "bench/minilm/device.h"
#include "bench/minilm/measure.h"
#include "bench/minilm/similarity.h"
#include "bench/minilm/tokenizer.h"
#include "bench/models/bert.h"

namespace monograph::bench {

/// What the command line says.
struct JobOptions {
  std::string input;  ///< text file; empty: the shipped sentences
  std::string json;   ///< file for the report; empty: none
  std::string dump = "dump/minilm";
  std::string device = "auto";
  std::string model;
  std::string python;
  int repeat = 0;  ///< rounds of the timing; 0: 30, and 2 on the virtual GPU
};

/// Everything the job found out.
struct Results {
  std::size_t sentences = 0;
  std::size_t shortened = 0;  ///< sentences cut at the model's longest input
  std::vector<SimilarPair> pairs;
  Report report;  ///< of the program for one sentence of kReferenceLength tokens
  double max_abs_diff = 0;
  std::set<std::pair<std::int64_t, std::int64_t>> compared_shapes;  ///< batch, tokens
  double python_dump_max_abs_diff = 0;
  Comparison speed;  ///< a: eager, b: replay
  CallCounters counters;
  std::filesystem::path dump;
  std::size_t dumped_stages = 0;
  std::string device;  ///< what the back end says about where and how it runs; may be empty
};

inline constexpr std::size_t kReferenceLength = 32;
/// Differences up to this count as the same answer.
inline constexpr double kTolerance = 1e-5;

/// The model, its tokenizer and its compiled form. Steps may run in any order, each on its own.
class Job {
 public:
  /// Loads the model. Error(kInvalidOption), Error(kDeviceUnavailable) or Error(kInvalidFile) if
  /// something isn't there.
  explicit Job(const JobOptions& options);

  /// Embeds each sentence by a replay, padded to the next of a few lengths, and eagerly; notes the
  /// most similar pairs and the largest difference. -> f32[N, H]
  at::Tensor embed(const std::vector<std::string>& sentences, Results& results);
  /// Compares replay with eager on fresh random inputs of several lengths and batch sizes.
  void compare_shapes(Results& results);
  /// Times eager and replay on one input of the reference shape.
  void measure(int rounds, Results& results);
  /// Writes the dump folder of the reference program and runs its script.
  void dump(const std::filesystem::path& folder, const std::string& python, Results& results);

  Executable& reference() { return compiled_.prepare(reference_inputs_); }

 private:
  at::Tensor eager(const std::vector<at::Tensor>& inputs);
  at::Tensor compare(const std::vector<at::Tensor>& inputs, Results& results);

  Device device_;  // first: LibTorch must not be used before
  Tokenizer tokenizer_;
  BertSentenceEncoder encoder_;
  std::int64_t vocabulary_;
  std::size_t max_length_;
  CompiledModule compiled_;
  std::mt19937_64 random_{20240711};
  std::vector<at::Tensor> reference_inputs_;
};

}  // namespace monograph::bench
