// Results as files and tables, and the check before any timing.
#include "bench/harness/result.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/error.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "bench/harness/check.h"
#include "bench/harness/run.h"

namespace monograph::bench {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::vector<double> around(double centre) {
  std::vector<double> series;
  for (int i = 0; i < 21; ++i) series.push_back(centre * (1 + 0.001 * (i - 10)));
  return series;
}

BenchResult example(double ours) {
  ModelResult model;
  model.model = "mlp";
  model.dtype = "Float";
  model.unit = "rows";
  model.units_per_call = 1;
  model.read_bytes = 1e6;
  model.reference = "float64";
  Check passed;
  passed.passed = true;
  passed.rmse = 0.25;
  model.contenders.push_back(
      {"monograph", "ok", "", 12, passed, around(ours), {}, 4.5, {{"arena_bytes", 4096}}});
  model.contenders.push_back({"eager", "ok", "", 1, passed, around(200), {}, {}, {}});
  model.contenders.push_back(
      {"onnxruntime", "missing", "it isn't \"installed\"", 0, {}, {}, {}, {}, {}});
  BenchResult result;
  result.command = "monograph_bench mlp";
  result.device = "host";
  result.models.push_back(model);
  return result;
}

class ResultFile : public ::testing::Test {
 protected:
  ~ResultFile() override { std::filesystem::remove(path_); }
  std::filesystem::path path_ = std::filesystem::temp_directory_path() /
                                ("monograph_result_" + std::to_string(::getpid()) + ".json");
};

TEST_F(ResultFile, ComesBackUnchanged) {
  write_text(path_, to_json(example(100)).dump());
  const BenchResult back = read_result(path_);
  EXPECT_EQ(to_json(back), to_json(example(100)));
  EXPECT_EQ(back.models.at(0).contenders.at(2).reason, "it isn't \"installed\"");
  EXPECT_EQ(back.models.at(0).contenders.at(0).host_us, 4.5);
  EXPECT_EQ(back.models.at(0).contenders.at(0).figures.at("arena_bytes"), 4096);
  EXPECT_FALSE(back.models.at(0).contenders.at(1).host_us);
}

TEST_F(ResultFile, DamageIsNamed) {
  const std::string whole = to_json(example(100)).dump();
  for (const std::string& text : {whole.substr(0, whole.size() / 2), std::string("[]"),
                                  std::string("{\"format\": 2}"), std::string("{\"format\": 1}")}) {
    write_text(path_, text);
    try {
      read_result(path_);
      ADD_FAILURE() << text << " was read";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kInvalidFile);
      EXPECT_THAT(error.what(), HasSubstr(path_.string()));
    }
  }
  EXPECT_THROW(read_result("/nowhere/at/all.json"), Error);
  EXPECT_THROW(write_text("/nowhere/at/all.json", ""), Error);
}

TEST(Result, TablesShowEverybody) {
  const std::string table = to_markdown(example(100));
  EXPECT_THAT(table, HasSubstr("| monograph | 100.0 [99.2, 100.8]"));
  EXPECT_THAT(table, HasSubstr("0.50 × [0.50, 0.50] faster"));
  EXPECT_THAT(table, HasSubstr("| onnxruntime | missing: it isn't \"installed\""));
  const std::string csv = to_csv(example(100));
  EXPECT_THAT(csv,
              HasSubstr("mlp,Float,1,0,\"onnxruntime\",missing,\"it isn't \"\"installed\"\"\""));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 4);
}

TEST(Result, ComparingTellsChangesFromNoise) {
  EXPECT_THAT(compare_results(example(100), example(100.5)).text, Not(HasSubstr("slower")));
  EXPECT_THAT(compare_results(example(100), example(110)).text,
              HasSubstr("1.10 x beside eager: slower"));
  EXPECT_THAT(compare_results(example(110), example(100)).text,
              HasSubstr("0.91 x beside eager: faster"));
  BenchResult less = example(100);
  less.models[0].contenders.pop_back();
  EXPECT_THAT(compare_results(example(100), less).text, HasSubstr("only in the first"));
  less.models.clear();
  EXPECT_THAT(compare_results(less, example(100)).text, HasSubstr("only in the second"));
}

Reference reference_of(const at::Tensor& exact, const at::Tensor& eager) {
  Reference reference;
  reference.exact = {exact};
  reference.eager = {eager};
  reference.eager_rmse = {(eager.to(at::kDouble) - exact).square().mean().sqrt().item<double>()};
  reference.kind = "float64";
  return reference;
}

TEST(Checks, AreAboutDistanceToFloat64) {
  const auto exact = at::randn({64, 64}, at::kDouble);
  const auto eager = (exact + 1e-6 * at::randn({64, 64}, at::kDouble)).to(at::kFloat);
  const Reference reference = reference_of(exact, eager);
  EXPECT_TRUE(check_outputs({eager}, reference).passed);
  EXPECT_TRUE(
      check_outputs({(exact + 1e-6 * at::randn({64, 64}, at::kDouble)).to(at::kFloat)}, reference)
          .passed);
  const Check worse =
      check_outputs({(exact + 1e-5 * at::randn({64, 64}, at::kDouble)).to(at::kFloat)}, reference);
  EXPECT_FALSE(worse.passed);
  EXPECT_THAT(worse.reason, HasSubstr("RMSE"));
}

TEST(Checks, SeeNaNsShapesTypesAndCounts) {
  const auto exact = at::randn({8}, at::kDouble);
  const auto eager = exact.to(at::kFloat);
  const Reference reference = reference_of(exact, eager);
  auto spoiled = eager.clone();
  spoiled[3].fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT(check_outputs({spoiled}, reference).reason, HasSubstr("NaN"));
  EXPECT_THAT(check_outputs({eager.view({2, 4})}, reference).reason, HasSubstr("shape"));
  EXPECT_THAT(check_outputs({exact}, reference).reason, HasSubstr("type"));
  EXPECT_THAT(check_outputs({}, reference).reason, HasSubstr("0 outputs instead of 1"));
}

TEST(Checks, IntegersAreEagers) {
  const auto eager = at::randint(100, {16}, at::kLong);
  Reference reference;
  reference.exact = reference.eager = {eager};
  reference.eager_rmse = {0};
  EXPECT_TRUE(check_outputs({eager.clone()}, reference).passed);
  EXPECT_FALSE(check_outputs({eager + 1}, reference).passed);
}

TEST(Bench, AWrongContenderIsNotTimed) {
  // Another seed gives other weights: its answers must be refused.
  const ModelEntry& entry = find_model("mlp");
  const ModelOptions options{.batch = 2, .layers = 2};
  ModelOptions other = options;
  other.seed = 1;
  const ModelCase model = entry.make(options);
  const Reference reference = make_reference(entry, options, model, 1e9);
  EXPECT_EQ(reference.kind, "float64");
  const auto wrong = make_eager(entry.make(other));
  EXPECT_EQ(wrong->prepare(), std::nullopt);
  EXPECT_FALSE(check_outputs(wrong->outputs(), reference).passed);
  const auto right = make_eager(model);
  EXPECT_TRUE(check_outputs(right->outputs(), reference).passed);
}

TEST(Bench, EveryModelIsRightOnTheHost) {
  for (const char* name : {"mlp", "dlrm", "bert-base"}) {
    BenchSettings settings;
    settings.options.backend = "host";
    settings.peers = {"eager", "graphed-eager"};
    settings.rounds = 9;
    settings.round_ms = 1;
    settings.most_seconds = 1;
    const ModelResult result = bench_model(find_model(name), {.length = 16, .layers = 1}, settings,
                                           [](const Progress&) {});
    ASSERT_EQ(result.contenders.size(), 3U) << name;
    EXPECT_EQ(result.contenders[0].status, "ok") << name << ": " << result.contenders[0].reason;
    EXPECT_GE(result.contenders[0].wall_us.size(), 9U);
    EXPECT_EQ(result.contenders[1].status, "ok");
    EXPECT_EQ(result.contenders[2].reason, "needs a GPU");
  }
}

TEST(Bench, UnknownModelsAreAnsweredWithTheList) {
  try {
    find_model("gpt");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInvalidOption);
    EXPECT_THAT(error.what(), HasSubstr("bert-base"));
    EXPECT_THAT(error.what(), HasSubstr("vit-b16"));
  }
}

}  // namespace
}  // namespace monograph::bench
