// What benchmarks run on: drawn weights, tied ones, and the reference that answers are checked by.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/error.h>

#include "bench/harness/check.h"
#include "bench/models/drawn.h"
#include "bench/models/llama.h"
#include "bench/models/zoo/build.h"

namespace monograph::bench {
namespace {

at::Tensor drawn(std::uint64_t seed, at::ScalarType type, int threads) {
  const int before = at::get_num_threads();
  at::set_num_threads(threads);
  seed_drawing(seed);
  at::Tensor t = at::empty({512, 513}, type);
  draw_bell(t, 0.02);
  at::set_num_threads(before);
  return t;
}

TEST(Drawing, IsTheSameOnAnyNumberOfThreads) {
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble}) {
    EXPECT_TRUE(drawn(3, type, 1).equal(drawn(3, type, 2)));
    EXPECT_FALSE(drawn(3, type, 1).equal(drawn(4, type, 1)));
  }
}

TEST(Drawing, GivesABellOfTheDeviationAskedFor) {
  const at::Tensor t = drawn(5, at::kDouble, 2);
  EXPECT_NEAR(t.mean().item<double>(), 0, 2e-4);
  EXPECT_NEAR(t.std().item<double>(), 0.02, 2e-4);
  // Of a normal distribution 68.3 % lie within one deviation; the sum of four comes close.
  EXPECT_NEAR(t.abs().lt(0.02).to(at::kDouble).mean().item<double>(), 0.683, 0.02);
  EXPECT_LE(t.abs().max().item<double>(), 0.07);
}

TEST(Drawing, RefusesWhatItCantFill) {
  EXPECT_THROW(draw_bell(at::empty({4, 4}).t(), 1), Error);
  EXPECT_THROW(draw_bell(at::empty({4}, at::kLong), 1), Error);
}

LlamaConfig tiny() {
  LlamaConfig config;
  config.vocab_size = 64;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 1;
  config.head_dim = 16;
  config.cache_length = 8;
  return config;
}

TEST(Models, TiedHeadsShareMemoryUnderBothNames) {
  LlamaDecoder decoder = make_llama(tiny(), at::kBFloat16);
  const auto named = decoder->named_parameters();
  const at::Tensor& table = named["model.embed_tokens.weight"];
  EXPECT_EQ(named["lm_head.weight"].const_data_ptr(), table.const_data_ptr());
  EXPECT_EQ(decoder->lm_head->weight.const_data_ptr(), table.const_data_ptr());
  // Counted once.
  double elements = 0;
  for (const auto& p : named) {
    if (p.key() != "lm_head.weight") elements += static_cast<double>(p.value().numel());
  }
  EXPECT_EQ(weight_bytes(*decoder), 2 * elements);
  decoder->to(at::kFloat);
  decoder->tie();
  EXPECT_EQ(decoder->named_parameters()["lm_head.weight"].const_data_ptr(),
            decoder->model->embed_tokens->weight.const_data_ptr());
}

TEST(Models, APromptAtOnceGivesWhatItsTokensGiveOneByOne) {
  const c10::InferenceMode inference;
  LlamaConfig config = tiny();
  config.num_hidden_layers = 2;
  config.batch = 2;
  config.query_key_norm = true;
  seed_drawing(11);
  LlamaDecoder decoder = make_llama(config, at::kDouble);
  const at::Tensor tokens = at::randint(config.vocab_size, {2, 5}, at::kLong);
  at::Tensor stepwise;
  for (std::int64_t p = 0; p < tokens.size(1); ++p) {
    const at::Tensor position = at::full({1}, p, at::kLong);
    stepwise = std::get<1>(decoder->forward(tokens.slice(1, p, p + 1), position)).clone();
  }
  const at::Tensor keys = decoder->named_buffers()["model.layers.1.self_attn.key_cache"].clone();
  decoder->clear_caches();
  const auto [next, logits] = decoder->forward(tokens, at::arange(tokens.size(1), at::kLong));
  EXPECT_TRUE(at::allclose(logits, stepwise, 1e-10, 1e-12));
  EXPECT_GT(logits.std().item<double>(), 1e-3);
  EXPECT_TRUE(at::equal(next, stepwise.argmax(-1, true)));
  EXPECT_TRUE(at::allclose(decoder->named_buffers()["model.layers.1.self_attn.key_cache"], keys,
                           1e-10, 1e-12));
}

TEST(Models, ThePromptOfTheZooFillsItsCaches) {
  ModelOptions options;
  options.layers = 1;
  options.length = 7;
  const ModelCase made = find_model("qwen3-0.6b-prefill").make(options);
  EXPECT_EQ(made.inputs.at(0).sizes(), (std::vector<std::int64_t>{1, 7}));
  EXPECT_EQ(made.units_per_call, 7);
  EXPECT_EQ(made.state.size(), 2U);
  const c10::InferenceMode inference;
  const auto outputs = made.module.forward(made.inputs);
  EXPECT_EQ(outputs.at(1).sizes(), (std::vector<std::int64_t>{1, 151936}));
  for (const auto& named : made.module.tensors) {
    if (!named.name.ends_with("_cache")) continue;
    EXPECT_EQ(named.tensor.size(2), 7);
    EXPECT_TRUE(named.tensor.abs().sum(-1).gt(0).all().item<bool>()) << named.name;
  }
}

TEST(References, AreAsWideAsFits) {
  ModelOptions options;
  options.layers = 2;
  const ModelEntry& entry = find_model("mlp");
  const auto kind = [&](at::ScalarType type, double bytes) {
    options.dtype = type;
    const ModelCase model = entry.make(options);
    const Reference reference = make_reference(entry, options, model, bytes);
    const Check check = check_outputs(reference.eager, reference);
    EXPECT_TRUE(check.passed) << check.reason;
    EXPECT_EQ(reference.exact.at(0).scalar_type(), at::kDouble);
    return reference.kind;
  };
  const double elements = 2.0 * (512 * 512 + 512);
  EXPECT_EQ(kind(at::kBFloat16, 8 * elements), "float64");
  EXPECT_EQ(kind(at::kBFloat16, 8 * elements - 1), "float32");
  EXPECT_EQ(kind(at::kBFloat16, 4 * elements - 1), "eager");
  EXPECT_EQ(kind(at::kFloat, 8 * elements - 1), "eager");
}

}  // namespace
}  // namespace monograph::bench
