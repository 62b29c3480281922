// Greedy decoding through the public API, one replay a token, against eager: on the virtual GPU
// with a small network, on a real one with more of it.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include <cmath>

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

/// What a token's logits are off from float64's.
struct Distance {
  double rms = 0, most = 0;
};

Distance distance(const at::Tensor& logits, const at::Tensor& exact) {
  const at::Tensor off = (logits.cpu().to(at::kDouble) - exact).abs();
  return {std::sqrt(off.square().mean().item<double>()), off.max().item<double>()};
}

/// Eager and float64 on the tokens that `steps` chose: our logits are off from float64's by at most
/// `factor` times what eager's are, and our choice is float64's wherever its two best differ by
/// more than thrice eager's largest distance. How many tokens that was.
int compare(LlamaDecoder& eager, LlamaDecoder& exact, std::int64_t token,
            const std::vector<Step>& steps, double factor) {
  const c10::InferenceMode guard;
  const at::Device device = eager->model->embed_tokens->weight.device();
  int decided = 0;
  for (std::size_t p = 0; p < steps.size(); ++p) {
    const at::Tensor in = at::full({1, 1}, token, at::kLong).to(device);
    const at::Tensor at = at::full({1}, static_cast<std::int64_t>(p), at::kLong).to(device);
    const at::Tensor want = std::get<1>(exact->forward(in, at)).cpu();
    const Distance others = distance(std::get<1>(eager->forward(in, at)), want);
    const Distance ours = distance(steps[p].logits, want);
    EXPECT_LE(ours.rms, factor * others.rms) << "token " << p;  // NaN fails
    if (!(ours.rms <= factor * others.rms)) return decided;
    const auto [best, which] = want.topk(2);
    if (best[0][0].item<double>() - best[0][1].item<double>() > 3 * others.most) {
      EXPECT_EQ(steps[p].token, which[0][0].item<std::int64_t>()) << "token " << p;
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

/// The same network in float64, with `from`'s rounded weights.
LlamaDecoder widened(const LlamaConfig& config, const LlamaDecoder& from, at::Device device) {
  const c10::InferenceMode guard;
  LlamaDecoder decoder = make(config, at::kDouble, device);
  const auto copy = [](const auto& to, const auto& source) {
    for (const auto& item : source) to[item.key()].copy_(item.value());
  };
  copy(decoder->named_parameters(), from->named_parameters());
  copy(decoder->named_buffers(), from->named_buffers());
  return decoder;
}

void expect_like_eager(const LlamaConfig& config, at::ScalarType dtype, int count, double factor) {
  const bool real = find_control("vgpu_seed") == nullptr;
  const at::Device device = real ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  LlamaDecoder decoder = make(config, dtype, device);
  LlamaDecoder eager = make(config, dtype, device);
  LlamaDecoder exact = widened(config, eager, device);
  Options options = cuda_options();
  options.passes = {"fused"};
  const std::vector<Step> steps = generate(decoder, options, 3, count);
  ASSERT_EQ(steps.size(), static_cast<std::size_t>(count));
  const int decided = compare(eager, exact, 3, steps, factor);
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
  expect_like_eager(c, at::kFloat, 12, 2);
}

TEST(GenerateOnHardware, TwoHundredAndFiftySixTokensAreEagers) {
  LlamaConfig c = LlamaConfig::llama_3_2_1b();
  c.num_hidden_layers = 4;
  expect_like_eager(c, at::kBFloat16, 256, 3);
}

}  // namespace
}  // namespace monograph::test
