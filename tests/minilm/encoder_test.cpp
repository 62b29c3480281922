// The encoder itself, run eagerly, against sentence-transformers; and the loading of its weights.
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/error.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "bench/minilm/batch.h"
#include "bench/minilm/tokenizer.h"
#include "bench/models/bert.h"
#include "bench/models/weights.h"
#include "capture/import/safetensors_torch.h"
#include "tests/minilm/minilm_files.h"

namespace monograph::bench {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

BertConfig tiny() {
  BertConfig config;
  config.vocab_size = 11;
  config.hidden_size = 8;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 2;
  config.intermediate_size = 16;
  config.max_position_embeddings = 6;
  return config;
}

// A file in a folder of its own that goes away with it.
class WeightsTest : public ::testing::Test {
 protected:
  WeightsTest()
      : folder_(std::filesystem::path(::testing::TempDir()) /
                ("weights_" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~WeightsTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  static std::vector<std::pair<std::string, at::Tensor>> tensors_of(torch::nn::Module& module) {
    std::vector<std::pair<std::string, at::Tensor>> all;
    for (const auto& p : module.named_parameters()) all.emplace_back(p.key(), p.value());
    for (const auto& b : module.named_buffers()) all.emplace_back(b.key(), b.value());
    return all;
  }

  importer::SafetensorsFile save(const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
    std::vector<importer::SafetensorsEntry> entries;
    for (const auto& [name, tensor] : tensors) entries.push_back(importer::entry_of(name, tensor));
    importer::write_safetensors(folder_ / "w.safetensors", entries);
    return importer::SafetensorsFile::open(folder_ / "w.safetensors");
  }

  static std::string refusal(torch::nn::Module& module, const importer::SafetensorsFile& file) {
    try {
      load_weights(module, file);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kInvalidFile);
      return error.message();
    }
    return {};
  }

  std::filesystem::path folder_;
};

TEST_F(WeightsTest, LoadedModuleEqualsTheSavedOne) {
  BertSentenceEncoder saved(tiny());
  BertSentenceEncoder loaded(tiny());
  const auto before = tensors_of(*saved);
  load_weights(*loaded, save(before));
  const auto after = tensors_of(*loaded);
  ASSERT_EQ(before.size(), after.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(before[i].first, after[i].first);
    EXPECT_TRUE(before[i].second.equal(after[i].second)) << before[i].first;
  }
}

TEST_F(WeightsTest, MissingSuperfluousAndMisshapenWeightsAreNamedTogether) {
  BertSentenceEncoder module(tiny());
  auto tensors = tensors_of(*module);
  const auto untouched = module->embeddings->word_embeddings->weight.clone();
  for (auto& [name, tensor] : tensors) {
    if (name == "encoder.layer.0.output.dense.weight") tensor = tensor.t().contiguous();
    if (name == "encoder.layer.0.output.dense.bias") tensor = tensor.to(at::kHalf);
    if (name == "embeddings.word_embeddings.weight") tensor = tensor + 1;
  }
  std::erase_if(tensors, [](const auto& t) { return t.first.ends_with("key.bias"); });
  tensors.emplace_back("pooler.dense.bias", tensors.front().second);
  const auto message = refusal(*module, save(tensors));
  EXPECT_THAT(message, HasSubstr("encoder.layer.0.attention.self.key.bias: missing"));
  EXPECT_THAT(message, HasSubstr("encoder.layer.0.output.dense.weight: expected f32[8, 16], the "
                                 "file has f32[16, 8]"));
  EXPECT_THAT(message,
              HasSubstr("encoder.layer.0.output.dense.bias: expected f32[8], the file has f16[8]"));
  EXPECT_THAT(message, HasSubstr("pooler.dense.bias: not part of the model"));
  EXPECT_THAT(message, Not(HasSubstr("word_embeddings")));
  EXPECT_TRUE(module->embeddings->word_embeddings->weight.equal(untouched));
}

TEST_F(WeightsTest, UnusedPrefixesMayBeLeftOver) {
  BertSentenceEncoder module(tiny());
  auto tensors = tensors_of(*module);
  tensors.emplace_back("pooler.dense.bias", tensors.front().second);
  const auto file = save(tensors);
  EXPECT_THAT(refusal(*module, file), HasSubstr("pooler"));
  EXPECT_NO_THROW(load_weights(*module, file, {"pooler."}));
}

TEST_F(WeightsTest, ConfigurationsThatCantWorkAreRefusedByField) {
  const auto refuse = [&](const char* change) {
    auto json = nlohmann::json::parse(std::ifstream(model_file("config.json")));
    json.merge_patch(nlohmann::json::parse(change));
    std::ofstream(folder_ / "config.json") << json;
    try {
      BertConfig::load(folder_ / "config.json");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kInvalidFile);
      return error.message();
    }
    return std::string();
  };
  EXPECT_EQ(refuse("{}"), "");
  EXPECT_THAT(refuse(R"({"hidden_size":null})"), HasSubstr("\"hidden_size\": missing"));
  EXPECT_THAT(refuse(R"({"hidden_size":"384"})"), HasSubstr("positive whole number, got \"384\""));
  EXPECT_THAT(refuse(R"({"vocab_size":0})"), HasSubstr("\"vocab_size\": expected a positive"));
  EXPECT_THAT(refuse(R"({"vocab_size":99999999999})"), HasSubstr("\"vocab_size\""));
  EXPECT_THAT(refuse(R"({"num_attention_heads":7})"), HasSubstr("no multiple"));
  EXPECT_THAT(refuse(R"({"hidden_act":"relu"})"), HasSubstr("expected \"gelu\", got \"relu\""));
  EXPECT_THAT(refuse(R"({"layer_norm_eps":"x"})"), HasSubstr("\"layer_norm_eps\""));
  std::ofstream(folder_ / "config.json") << "{";
  EXPECT_THROW(BertConfig::load(folder_ / "config.json"), Error);
  EXPECT_THROW(BertConfig::load(folder_ / "absent.json"), Error);
}

class EncoderTest : public ::testing::TestWithParam<Attention> {};

// Largest difference of `embedding` from the reference numbers, which have 8 decimals.
double difference(const at::Tensor& embedding, const nlohmann::json& reference) {
  const auto wanted = reference.get<std::vector<double>>();
  EXPECT_EQ(embedding.numel(), static_cast<std::int64_t>(wanted.size()));
  double largest = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const double got = embedding.const_data_ptr<float>()[i];
    EXPECT_FALSE(std::isnan(got));
    largest = std::max(largest, std::abs(got - wanted[i]));
  }
  return largest;
}

TEST_P(EncoderTest, AgreesWithSentenceTransformers) {
  const at::NoGradGuard no_grad;
  const auto tokenizer = Tokenizer::load(model_file("vocab.txt"));
  auto encoder = load_sentence_encoder(model_folder(), GetParam());
  const auto cases = nlohmann::json::parse(std::ifstream(data_file("embeddings.json")));
  ASSERT_GE(cases.size(), 6u);
  std::vector<std::vector<std::int64_t>> rows;
  for (const auto& c : cases) {
    rows.push_back(tokenizer.encode(c.at("text").get<std::string>(), 256));
    const auto alone = make_batch({rows.back()}, tokenizer.pad_id());
    const auto embedding = encoder->forward(alone.input_ids, alone.attention_mask);
    EXPECT_LT(difference(embedding[0], c.at("embedding")), 2e-6) << c.at("text");
  }
  // Padding, up to 250 tokens of it, must not show.
  const auto all = make_batch(rows, tokenizer.pad_id());
  const auto embeddings = encoder->forward(all.input_ids, all.attention_mask);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto row = embeddings[static_cast<std::int64_t>(i)];
    EXPECT_LT(difference(row, cases[i].at("embedding")), 2e-6) << cases[i].at("text");
  }
}

INSTANTIATE_TEST_SUITE_P(Both, EncoderTest,
                         ::testing::Values(Attention::kFused, Attention::kExplicit));

}  // namespace
}  // namespace monograph::bench
