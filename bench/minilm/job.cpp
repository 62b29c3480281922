#include "bench/minilm/job.h"

#include <ATen/ops/cat.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <monograph/error.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <set>

#include "bench/minilm/locate.h"
#include "bench/minilm/python_check.h"

namespace monograph::bench {
namespace {

namespace fs = std::filesystem;

// Sentences are padded to the first of these that they fit, so that few shapes are compiled.
constexpr std::array<std::size_t, 5> kPaddedLengths{kReferenceLength, 64, 128, 256, 512};
constexpr std::size_t kPairsShown = 5;
constexpr int kRounds = 30;
// The virtual GPU computes for real, but thousands of times slower than a real one.
constexpr int kEmulatedRounds = 2;

std::size_t padded_length(std::size_t tokens) {
  return *std::lower_bound(kPaddedLengths.begin(), kPaddedLengths.end() - 1, tokens);
}

Options options_for(const Device& device) {
  Options options = device.options();
  options.name = "minilm";
  return options;
}

void write_text(const fs::path& file, const std::string& text) {
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out) throw Error(Code::kInvalidFile, file.string() + ": can't be written");
}

// Removes what an earlier job left in `folder`, and nothing else.
void clear_earlier_dump(const fs::path& folder) {
  const std::set<std::string> names{"transformed_code.py",
                                    "weights.safetensors",
                                    "inputs.safetensors",
                                    "python_outputs.safetensors",
                                    "python.log",
                                    "launches.txt",
                                    "plan.txt",
                                    "graph_nodes.txt",
                                    "kernels.txt"};
  std::vector<fs::path> earlier;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool stage = name.size() > 7 && std::isdigit(name[0]) && std::isdigit(name[1]) &&
                       name[2] == '_' && name.ends_with(".txt");
    if (entry.is_regular_file() && (stage || names.contains(name))) earlier.push_back(entry.path());
  }
  for (const fs::path& file : earlier) fs::remove(file);
}

void prepare_folder(const fs::path& folder) {
  try {
    fs::create_directories(folder);
    clear_earlier_dump(folder);
  } catch (const fs::filesystem_error& error) {
    throw Error(Code::kInvalidFile,
                fmt::format("{}: can't take a dump: {}", folder.string(), error.code().message()));
  }
}

}  // namespace

Job::Job(const JobOptions& options)
    : device_(select_device(options.device)),
      tokenizer_(Tokenizer::load(find_model_folder(options.model) / "vocab.txt")),
      encoder_(load_sentence_encoder(find_model_folder(options.model))),
      vocabulary_(encoder_->embeddings->word_embeddings->options.num_embeddings()),
      max_length_(static_cast<std::size_t>(load_max_length(find_model_folder(options.model)))),
      compiled_(make_module<2>(encoder_, {"input_ids", "attention_mask"}), options_for(device_)),
      reference_inputs_(random_batch(1, kReferenceLength, vocabulary_, random_).inputs()) {
  if (static_cast<std::int64_t>(tokenizer_.size()) != vocabulary_) {
    throw Error(Code::kInvalidFile,
                fmt::format("vocab.txt has {} tokens, the model's word embeddings {}",
                            tokenizer_.size(), vocabulary_));
  }
}

at::Tensor Job::eager(const std::vector<at::Tensor>& inputs) {
  const c10::InferenceMode inference;
  return encoder_->forward(inputs[0], inputs[1]);
}

at::Tensor Job::compare(const std::vector<at::Tensor>& inputs, Results& results) {
  auto replayed = compiled_(inputs).at(0);
  results.max_abs_diff =
      std::max(results.max_abs_diff, largest_difference(replayed, eager(inputs)));
  results.compared_shapes.insert({inputs[0].size(0), inputs[0].size(1)});
  return replayed;
}

at::Tensor Job::embed(const std::vector<std::string>& sentences, Results& results) {
  std::vector<at::Tensor> embeddings;
  for (const std::string& sentence : sentences) {
    const auto ids = tokenizer_.encode(sentence, max_length_);
    // One token more would have been kept if there had been one.
    if (ids.size() == max_length_ && tokenizer_.encode(sentence, max_length_ + 1) != ids) {
      ++results.shortened;
    }
    const auto batch = make_batch({ids}, tokenizer_.pad_id(), padded_length(ids.size()));
    embeddings.push_back(compare(batch.inputs(), results));
  }
  results.sentences = sentences.size();
  auto all = at::cat(embeddings);
  results.pairs = most_similar(all, kPairsShown);
  return all;
}

void Job::compare_shapes(Results& results) {
  for (const std::size_t length : {8, 32, 128}) {
    if (device_.emulated && length > kReferenceLength) continue;
    for (const std::size_t rows : {1, 4}) {
      for (int round = 0; round < 2; ++round) {
        compare(random_batch(rows, length, vocabulary_, random_).inputs(), results);
      }
    }
  }
  results.report = reference().report();
}

void Job::measure(int rounds, Results& results) {
  if (rounds == 0) rounds = device_.emulated ? kEmulatedRounds : kRounds;
  std::vector<at::Tensor> outputs = compiled_(reference_inputs_);
  results.speed = bench::compare([&] { eager(reference_inputs_); },
                                 [&] { compiled_(reference_inputs_, outputs); }, rounds);
  results.counters = compiled_.counters();
}

void Job::dump(const fs::path& folder, const std::string& python, Results& results) {
  Executable& executable = reference();
  const Program& program = executable.program();
  prepare_folder(folder);
  if (!program.dump(folder.string())) {
    throw Error(Code::kInvalidFile,
                folder.string() + ": can't take a dump (MONOGRAPH_LOG=warning shows why)");
  }
  std::vector<std::string> stages{"launches", "plan"};
  if (device_.backend == "cuda") {
    stages.insert(stages.end(), {"graph_nodes", "kernels"});
    results.device = executable.dump("device");
  }
  for (const std::string& stage : stages) {
    write_text(folder / (stage + ".txt"), executable.dump(stage));
  }
  results.dump = folder;
  results.dumped_stages = program.stages().size();
  // Other data than was traced, and some padding.
  const auto short_row = random_batch(1, kReferenceLength - 9, vocabulary_, random_).input_ids;
  const auto* ids = short_row.const_data_ptr<std::int64_t>();
  const auto inputs =
      make_batch({{ids, ids + short_row.numel()}}, tokenizer_.pad_id(), kReferenceLength).inputs();
  results.python_dump_max_abs_diff = python_difference(
      folder, find_python(python), program.inputs(), inputs, executable.replay(inputs));
}

}  // namespace monograph::bench
