// MiniLM captured and replayed, against LibTorch eager and against the dumped script.
#include <ATen/ops/full.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/compiled_module.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <random>
#include <string>
#include <system_error>
#include <tuple>
#include <vector>

#include "bench/minilm/batch.h"
#include "bench/minilm/locate.h"
#include "bench/minilm/python_check.h"
#include "bench/minilm/similarity.h"
#include "bench/models/bert.h"
#include "tests/minilm/minilm_files.h"

namespace monograph::bench {
namespace {

constexpr double kTolerated = 1e-5;
constexpr std::int64_t kVocabulary = 30522;
constexpr std::int64_t kHidden = 384;

BertSentenceEncoder& encoder_of(Attention attention) {
  static BertSentenceEncoder fused = load_sentence_encoder(model_folder(), Attention::kFused);
  static BertSentenceEncoder written = load_sentence_encoder(model_folder(), Attention::kExplicit);
  return attention == Attention::kFused ? fused : written;
}

CompiledModule compile(Attention attention) {
  Options options;
  options.backend = "host";
  return CompiledModule(make_module<2>(encoder_of(attention), {"input_ids", "attention_mask"}),
                        options);
}

at::Tensor eager(Attention attention, const std::vector<at::Tensor>& inputs) {
  const c10::InferenceMode inference;
  return encoder_of(attention)->forward(inputs[0], inputs[1]);
}

std::vector<at::Tensor> poisoned_outputs(std::int64_t rows) {
  return {at::full({rows, kHidden}, std::numeric_limits<float>::quiet_NaN())};
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.nbytes() == b.nbytes() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

using Case = std::tuple<Attention, std::size_t, std::size_t>;  // attention, batch, tokens

class ReplayTest : public ::testing::TestWithParam<Case> {
 protected:
  ReplayTest()
      : folder_(std::filesystem::path(::testing::TempDir()) /
                fmt::format("minilm_replay_{}", ::getpid())) {}
  ~ReplayTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::vector<at::Tensor> fresh_inputs() {
    return random_batch(std::get<1>(GetParam()), std::get<2>(GetParam()), kVocabulary, random_)
        .inputs();
  }

  std::mt19937_64 random_{20240711};
  std::filesystem::path folder_;
};

TEST_P(ReplayTest, AgreesWithEagerOnFreshInputs) {
  const Attention attention = std::get<0>(GetParam());
  auto compiled = compile(attention);
  for (int round = 0; round < 4; ++round) {
    const auto inputs = fresh_inputs();
    auto outputs = poisoned_outputs(inputs[0].size(0));
    compiled(inputs, outputs);
    EXPECT_LE(largest_difference(outputs[0], eager(attention, inputs)), kTolerated);
  }
  EXPECT_EQ(compiled.counters().traces, 1u);
  EXPECT_EQ(compiled.counters().replays, 4u);
}

TEST_P(ReplayTest, DumpedScriptAgreesWithReplay) {
  auto compiled = compile(std::get<0>(GetParam()));
  Executable& executable = compiled.prepare(fresh_inputs());
  const Program& program = executable.program();
  ASSERT_TRUE(program.dump(folder_.string()));
  const auto inputs = fresh_inputs();
  EXPECT_LE(python_difference(folder_, find_python(""), program.inputs(), inputs,
                              executable.replay(inputs)),
            kTolerated);
}

TEST_P(ReplayTest, ArenaIsCloseToItsLowerBound) {
  auto compiled = compile(std::get<0>(GetParam()));
  const Report& report = compiled.prepare(fresh_inputs()).report();
  EXPECT_GT(report.arena_lower_bound, 0);
  EXPECT_LE(static_cast<double>(report.arena_bytes),
            1.05 * static_cast<double>(report.arena_lower_bound));
}

std::string case_name(const ::testing::TestParamInfo<Case>& tested) {
  const auto& [attention, rows, tokens] = tested.param;
  return fmt::format("{}_{}x{}", attention == Attention::kFused ? "fused" : "explicit", rows,
                     tokens);
}

INSTANTIATE_TEST_SUITE_P(Shapes, ReplayTest,
                         ::testing::Combine(::testing::Values(Attention::kFused,
                                                              Attention::kExplicit),
                                            ::testing::Values(1, 4), ::testing::Values(8, 32, 128)),
                         case_name);

TEST(Replay, ThousandReplaysAreBitIdentical) {
  auto compiled = compile(Attention::kFused);
  std::mt19937_64 random(7);
  const auto inputs = random_batch(1, 32, kVocabulary, random).inputs();
  const auto others = random_batch(1, 32, kVocabulary, random).inputs();
  const auto first = compiled(inputs).at(0);
  EXPECT_FALSE(same_bits(first, compiled(others).at(0)));
  for (int i = 0; i < 1000; ++i) {
    auto outputs = poisoned_outputs(1);
    compiled(inputs, outputs);
    ASSERT_TRUE(same_bits(outputs[0], first)) << "replay " << i;
    // Something else in between, so that leftovers in the arena would show.
    if (i % 10 == 0) compiled(others, outputs);
  }
  EXPECT_EQ(compiled.counters().traces, 1u);
}

TEST(Replay, SmallDifferencesAndNaNsAreSeen) {
  const auto a = at::full({2, 3}, 1.0F);
  auto b = a.clone();
  EXPECT_EQ(largest_difference(a, b), 0.0);
  b[1][2] = 1.0F + 1e-3F;
  EXPECT_NEAR(largest_difference(a, b), 1e-3, 1e-6);
  b[0][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isinf(largest_difference(a, b)));
  EXPECT_TRUE(std::isinf(largest_difference(b, b)));
}

}  // namespace
}  // namespace monograph::bench
