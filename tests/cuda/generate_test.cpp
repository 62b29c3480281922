// Greedy decoding through the public API, one replay a token, against eager: on the virtual GPU
// with a small network, on a real one with more of it.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include "bench/models/llama.h"
#include "tests/cuda/virtual_device.h"

namespace monograph::test {
namespace {

using bench::LlamaConfig;
using bench::LlamaDecoder;

struct Step {
  std::int64_t token = 0;
  at::Tensor logits;  ///< on the host
};

// [generate]
/// Decodes `count` tokens after `token`. Every call is one replay of one graph, which writes the
/// caches in place.
std::vector<Step> generate(LlamaDecoder& decoder, Options options, std::int64_t token, int count) {
  for (const std::string& name : decoder->state_names()) options.mutable_state.emplace_back(name);
  CompiledModule compiled(make_module<2>(decoder, {"token", "position"}), options);

  const at::Device device = decoder->model->embed_tokens->weight.device();
  at::Tensor next = at::full({1, 1}, token, at::kLong).to(device);
  std::vector<Step> steps;
  for (std::int64_t p = 0; p < count; ++p) {
    const std::vector<at::Tensor> out = compiled({next, at::full({1}, p, at::kLong).to(device)});
    next = out[0];
    steps.push_back({next.item<std::int64_t>(), out[1].cpu()});
  }
  return steps;
}
// [/generate]

/// Eager on the tokens that `steps` chose: its logits agree up to `share` of their standard
/// deviation, and its choice is theirs wherever its two best differ by more than that twice over.
/// How many tokens that was.
int compare(LlamaDecoder& eager, std::int64_t token, const std::vector<Step>& steps, double share) {
  const c10::InferenceMode guard;
  const at::Device device = eager->model->embed_tokens->weight.device();
  int decided = 0;
  for (std::size_t p = 0; p < steps.size(); ++p) {
    const auto [next, logits] =
        eager->forward(at::full({1, 1}, token, at::kLong).to(device),
                       at::full({1}, static_cast<std::int64_t>(p), at::kLong).to(device));
    const at::Tensor want = logits.cpu().to(at::kDouble);
    const at::Tensor got = steps[p].logits.to(at::kDouble);
    const double tolerance = share * want.std().item<double>();
    const double off = (got - want).abs().max().item<double>();
    EXPECT_LE(off, tolerance) << "token " << p;  // NaN fails
    if (!(off <= tolerance)) return decided;
    const at::Tensor best = std::get<0>(want.topk(2));
    if (best[0][0].item<double>() - best[0][1].item<double>() > 2 * tolerance) {
      EXPECT_EQ(steps[p].token, next.item<std::int64_t>()) << "token " << p;
      ++decided;
    }
    token = steps[p].token;
  }
  return decided;
}

LlamaDecoder make(const LlamaConfig& config, at::ScalarType dtype, at::Device device) {
  at::manual_seed(11);
  LlamaDecoder decoder = bench::make_llama(config, dtype);
  decoder->to(device);
  decoder->tie();
  return decoder;
}

void expect_like_eager(const LlamaConfig& config, at::ScalarType dtype, int count, double share) {
  const bool real = find_control("vgpu_seed") == nullptr;
  const at::Device device = real ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  LlamaDecoder decoder = make(config, dtype, device);
  LlamaDecoder eager = make(config, dtype, device);
  Options options = cuda_options();
  options.passes = {"fused"};
  const std::vector<Step> steps = generate(decoder, options, 3, count);
  ASSERT_EQ(steps.size(), static_cast<std::size_t>(count));
  const int decided = compare(eager, 3, steps, share);
  EXPECT_GT(decided, count / 3) << "too few tokens had a clear winner";
}

TEST(Generate, GreedyTokensAreEagers) {
  LlamaConfig c;
  c.vocab_size = 96;
  c.hidden_size = 64;
  c.intermediate_size = 96;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 2;
  c.head_dim = 16;
  c.cache_length = 32;
  expect_like_eager(c, at::kFloat, 12, 1e-4);
}

TEST(GenerateOnHardware, TwoHundredAndFiftySixTokensAreEagers) {
  LlamaConfig c = LlamaConfig::llama_3_2_1b();
  c.num_hidden_layers = 4;
  expect_like_eager(c, at::kBFloat16, 256, 0.05);
}

}  // namespace
}  // namespace monograph::test
