#include "bench/models/llama.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <monograph/region.h>

#include <cmath>
#include <limits>
#include <numbers>

namespace monograph::bench {
namespace {

// [B, T, heads * D] -> [B, heads, T, D]
at::Tensor split_heads(const at::Tensor& x, std::int64_t head_dim) {
  return x.view({x.size(0), x.size(1), -1, head_dim}).transpose(1, 2);
}

at::Tensor rotate_half(const at::Tensor& x) {
  const auto half = x.size(-1) / 2;
  return at::cat({-x.slice(-1, half), x.slice(-1, 0, half)}, -1);
}

at::Tensor rotate(const at::Tensor& x, const DecodeStep& step) {
  return x * step.cos + rotate_half(x) * step.sin;
}

// Rotations per position of each pair of dimensions, low ones slowed down as Llama 3.1 does:
// https://github.com/meta-llama/llama-models, apply_scaling.
at::Tensor frequencies(const LlamaConfig& config) {
  constexpr double kOldLength = 8192;
  constexpr double kLow = 1, kHigh = 4;
  const auto steps = at::arange(0, config.head_dim, 2, at::kDouble) / config.head_dim;
  const auto plain = at::pow(config.rope_theta, -steps);
  if (config.rope_factor == 1.0) return plain;
  const auto turns = kOldLength * plain / (2 * std::numbers::pi);
  const auto smooth = ((turns - kLow) / (kHigh - kLow)).clamp(0, 1);
  return plain * (smooth + (1 - smooth) / config.rope_factor);
}

// [B, key-value heads, T, D] -> [B, heads, T, D]
at::Tensor repeat_heads(const at::Tensor& x, std::int64_t times) {
  return x.unsqueeze(2)
      .expand({x.size(0), x.size(1), times, x.size(2), x.size(3)})
      .reshape({x.size(0), x.size(1) * times, x.size(2), x.size(3)});
}

}  // namespace

LlamaConfig LlamaConfig::llama_3_2_1b() {
  LlamaConfig config;
  config.rope_factor = 32;
  return config;
}

LlamaConfig LlamaConfig::llama_3_1_8b() {
  LlamaConfig config;
  config.hidden_size = 4096;
  config.intermediate_size = 14336;
  config.num_hidden_layers = 32;
  config.head_dim = 128;
  config.rope_factor = 8;
  config.tie_word_embeddings = false;
  return config;
}

LlamaConfig LlamaConfig::qwen3_0_6b() {
  LlamaConfig config;
  config.vocab_size = 151936;
  config.hidden_size = 1024;
  config.intermediate_size = 3072;
  config.num_hidden_layers = 28;
  config.num_attention_heads = 16;
  config.head_dim = 128;
  config.rms_norm_eps = 1e-6;
  config.rope_theta = 1e6;
  config.query_key_norm = true;
  return config;
}

RmsNormImpl::RmsNormImpl(std::int64_t size, const LlamaConfig& config)
    : eps(config.rms_norm_eps), style(config.style) {
  weight = register_parameter("weight", at::ones({size}));
}

at::Tensor RmsNormImpl::forward(const at::Tensor& x) {
  if (style == Attention::kFused) return at::rms_norm(x, weight.sizes(), weight, eps);
  const auto wide = x.to(at::kFloat);
  const auto scale = at::rsqrt(wide.pow(2).mean({-1}, /*keepdim=*/true) + eps);
  return weight * (wide * scale).to(x.scalar_type());
}

LlamaAttentionImpl::LlamaAttentionImpl(const LlamaConfig& c) : config(c) {
  const std::int64_t queries = c.num_attention_heads * c.head_dim;
  const std::int64_t keys = c.num_key_value_heads * c.head_dim;
  q_proj = register_module("q_proj", Projection(c.hidden_size, queries, c.dtype));
  k_proj = register_module("k_proj", Projection(c.hidden_size, keys, c.dtype));
  v_proj = register_module("v_proj", Projection(c.hidden_size, keys, c.dtype));
  o_proj = register_module("o_proj", Projection(queries, c.hidden_size, c.dtype));
  if (c.query_key_norm) {
    q_norm = register_module("q_norm", RmsNorm(c.head_dim, c));
    k_norm = register_module("k_norm", RmsNorm(c.head_dim, c));
  }
  const auto empty = at::zeros({c.batch, c.num_key_value_heads, c.cache_length, c.head_dim});
  key_cache = register_buffer("key_cache", empty.clone());
  value_cache = register_buffer("value_cache", empty.clone());
}

at::Tensor LlamaAttentionImpl::attend(const at::Tensor& q, const at::Tensor& mask) {
  if (config.style == Attention::kFused) {
    return at::scaled_dot_product_attention(q, key_cache, value_cache, mask, 0.0,
                                            /*is_causal=*/false, std::nullopt,
                                            /*enable_gqa=*/true);
  }
  const std::int64_t times = config.num_attention_heads / config.num_key_value_heads;
  const auto k = repeat_heads(key_cache, times);
  const auto v = repeat_heads(value_cache, times);
  const double scale = 1 / std::sqrt(static_cast<double>(config.head_dim));
  const auto scores = at::matmul(q, k.transpose(2, 3)) * scale;
  const auto masked = scores.masked_fill(~mask, -std::numeric_limits<double>::infinity());
  return at::matmul(at::softmax(masked, -1, at::kFloat).to(q.scalar_type()), v);
}

at::Tensor LlamaAttentionImpl::forward(const at::Tensor& hidden, const DecodeStep& step) {
  const Region region("self_attn");
  auto q = split_heads(q_proj(hidden), config.head_dim);
  auto k = split_heads(k_proj(hidden), config.head_dim);
  const auto v = split_heads(v_proj(hidden), config.head_dim);
  if (config.query_key_norm) {
    q = q_norm(q);
    k = k_norm(k);
  }
  key_cache.index_copy_(2, step.position, rotate(k, step));
  value_cache.index_copy_(2, step.position, v);
  const auto context = attend(rotate(q, step), step.mask);
  return o_proj(context.transpose(1, 2).reshape({hidden.size(0), hidden.size(1), -1}));
}

LlamaMlpImpl::LlamaMlpImpl(const LlamaConfig& c) {
  gate_proj = register_module("gate_proj", Projection(c.hidden_size, c.intermediate_size, c.dtype));
  up_proj = register_module("up_proj", Projection(c.hidden_size, c.intermediate_size, c.dtype));
  down_proj = register_module("down_proj", Projection(c.intermediate_size, c.hidden_size, c.dtype));
}

at::Tensor LlamaMlpImpl::forward(const at::Tensor& x) {
  const Region region("mlp");
  return down_proj(at::silu(gate_proj(x)) * up_proj(x));
}

LlamaLayerImpl::LlamaLayerImpl(const LlamaConfig& config) {
  self_attn = register_module("self_attn", LlamaAttention(config));
  mlp = register_module("mlp", LlamaMlp(config));
  input_layernorm = register_module("input_layernorm", RmsNorm(config.hidden_size, config));
  post_attention_layernorm =
      register_module("post_attention_layernorm", RmsNorm(config.hidden_size, config));
}

at::Tensor LlamaLayerImpl::forward(const at::Tensor& hidden, const DecodeStep& step) {
  const auto attended = hidden + self_attn(input_layernorm(hidden), step);
  return attended + mlp(post_attention_layernorm(attended));
}

LlamaModelImpl::LlamaModelImpl(const LlamaConfig& config) {
  embed_tokens =
      register_module("embed_tokens", Table(config.vocab_size, config.hidden_size, config.dtype));
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) layers->push_back(LlamaLayer(config));
  register_module("layers", layers);
  norm = register_module("norm", RmsNorm(config.hidden_size, config));
  const auto angles =
      at::outer(at::arange(config.cache_length, at::kDouble), frequencies(config)).repeat({1, 2});
  cos = register_buffer("cos", angles.cos().to(at::kFloat));
  sin = register_buffer("sin", angles.sin().to(at::kFloat));
}

at::Tensor LlamaModelImpl::forward(const at::Tensor& token, const at::Tensor& position) {
  const Region region("model");
  const std::int64_t length = cos.size(0);
  const std::int64_t width = cos.size(1);
  const std::int64_t tokens = token.size(1);
  const at::Tensor limit = tokens == 1 ? position : position.unsqueeze(1);
  const DecodeStep step{
      position, cos.index_select(0, position).view({1, 1, tokens, width}),
      sin.index_select(0, position).view({1, 1, tokens, width}),
      at::arange(length, position.options()).le(limit).view({1, 1, tokens, length})};
  auto hidden = embed_tokens(token);
  for (std::size_t i = 0; i < layers->size(); ++i) {
    const Region inner(fmt::format("layers.{}", i));
    hidden = layers->at<LlamaLayerImpl>(i).forward(hidden, step);
  }
  return norm(tokens == 1 ? hidden : hidden.slice(1, -1));
}

LlamaDecoderImpl::LlamaDecoderImpl(const LlamaConfig& config) : tied(config.tie_word_embeddings) {
  model = register_module("model", LlamaModel(config));
  lm_head =
      register_module("lm_head", Projection(config.hidden_size, config.vocab_size, config.dtype));
  tie();
}

// Both names share memory, and calls use one tensor.
void LlamaDecoderImpl::tie() {
  if (!tied) return;
  lm_head->weight = lm_head->named_parameters()["weight"];
  lm_head->weight.set_data(model->embed_tokens->weight.detach());
  lm_head->weight = model->embed_tokens->weight;
}

std::tuple<at::Tensor, at::Tensor> LlamaDecoderImpl::forward(const at::Tensor& token,
                                                             const at::Tensor& position) {
  const auto logits = lm_head(model(token, position)).squeeze(1);
  return {at::argmax(logits, -1, /*keepdim=*/true), logits};
}

std::vector<std::string> LlamaDecoderImpl::state_names() const {
  std::vector<std::string> names;
  for (const auto& buffer : named_buffers()) {
    if (buffer.key().ends_with("_cache")) names.push_back(buffer.key());
  }
  return names;
}

void LlamaDecoderImpl::clear_caches() {
  for (auto& buffer : named_buffers()) {
    if (buffer.key().ends_with("_cache")) buffer.value().zero_();
  }
}

LlamaDecoder make_llama(const LlamaConfig& config, at::ScalarType dtype) {
  LlamaConfig typed = config;
  typed.dtype = dtype;
  LlamaDecoder decoder(typed);
  decoder->to(dtype);
  decoder->tie();
  for (auto& parameter : decoder->parameters()) parameter.requires_grad_(false);
  decoder->eval();
  return decoder;
}

}  // namespace monograph::bench
