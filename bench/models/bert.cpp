#include "bench/models/bert.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <fmt/format.h>
#include <monograph/region.h>

#include <cmath>
#include <limits>

#include "bench/models/weights.h"

namespace monograph::bench {
namespace {

torch::nn::LayerNorm make_norm(const BertConfig& config) {
  return torch::nn::LayerNorm(
      torch::nn::LayerNormOptions({config.hidden_size}).eps(config.layer_norm_eps));
}

double lowest(at::ScalarType dtype) {
  switch (dtype) {
    case at::kHalf:
      return std::numeric_limits<c10::Half>::lowest();
    case at::kBFloat16:
      return std::numeric_limits<c10::BFloat16>::lowest();
    default:
      return std::numeric_limits<float>::lowest();
  }
}

// 0 where the mask says token, the lowest number where it says padding: [B, T] -> [B, 1, 1, T]. Of
// the activations' type: beside halves, LibTorch 2.11's attention on Hopper misreads a mask of
// floats.
at::Tensor additive_mask(const at::Tensor& attention_mask, at::ScalarType dtype) {
  const auto wide = attention_mask.unsqueeze(1).unsqueeze(2).to(dtype);
  return (1.0 - wide) * lowest(dtype);
}

// Mean over the tokens that the mask selects, scaled to length 1.
at::Tensor mean_pool(const at::Tensor& hidden, const at::Tensor& attention_mask) {
  const auto weights = attention_mask.unsqueeze(-1).expand(hidden.sizes()).to(hidden.dtype());
  const auto sum = (hidden * weights).sum(1);
  const auto mean = sum / weights.sum(1).clamp_min(1e-9);
  const auto length = mean.norm(2, {-1}, /*keepdim=*/true).clamp_min(1e-12);
  return mean / length.expand_as(mean);
}

}  // namespace

BertEmbeddingsImpl::BertEmbeddingsImpl(const BertConfig& config)
    : word_embeddings(config.vocab_size, config.hidden_size),
      position_embeddings(config.max_position_embeddings, config.hidden_size),
      token_type_embeddings(config.type_vocab_size, config.hidden_size),
      layer_norm(make_norm(config)),
      dropout(config.hidden_dropout_prob),
      position_ids(at::arange(config.max_position_embeddings, at::kLong).unsqueeze(0)) {
  register_module("word_embeddings", word_embeddings);
  register_module("position_embeddings", position_embeddings);
  register_module("token_type_embeddings", token_type_embeddings);
  register_module("LayerNorm", layer_norm);
  register_module("dropout", dropout);
  position_ids = register_buffer("position_ids", position_ids);
}

at::Tensor BertEmbeddingsImpl::forward(const at::Tensor& input_ids) {
  const Region region("embeddings");
  const auto positions = position_ids.slice(1, 0, input_ids.size(1));
  // One sentence per row: every token is of type 0.
  const auto types = at::zeros_like(input_ids);
  auto sum = word_embeddings(input_ids) + token_type_embeddings(types);
  sum += position_embeddings(positions);
  return dropout(layer_norm(sum));
}

BertSelfAttentionImpl::BertSelfAttentionImpl(const BertConfig& config)
    : query(config.hidden_size, config.hidden_size),
      key(config.hidden_size, config.hidden_size),
      value(config.hidden_size, config.hidden_size),
      dropout(config.attention_probs_dropout_prob),
      heads(config.num_attention_heads),
      head_size(config.hidden_size / config.num_attention_heads),
      kind(config.attention) {
  register_module("query", query);
  register_module("key", key);
  register_module("value", value);
  register_module("dropout", dropout);
}

at::Tensor BertSelfAttentionImpl::forward(const at::Tensor& hidden, const at::Tensor& mask) {
  const Region region("self");
  const auto split = [&](const at::Tensor& x) {
    return x.view({x.size(0), x.size(1), heads, head_size}).transpose(1, 2);
  };
  const auto q = split(query(hidden));
  const auto k = split(key(hidden));
  const auto v = split(value(hidden));
  at::Tensor context;
  if (kind == Attention::kFused) {
    context = at::scaled_dot_product_attention(q, k, v, mask);
  } else {
    auto scores = at::matmul(q, k.transpose(-1, -2)) / std::sqrt(static_cast<double>(head_size));
    scores = at::softmax(scores + mask, -1);
    context = at::matmul(dropout(scores), v);
  }
  return context.transpose(1, 2).reshape(hidden.sizes());
}

BertOutputImpl::BertOutputImpl(std::int64_t inputs, const BertConfig& config)
    : dense(inputs, config.hidden_size),
      layer_norm(make_norm(config)),
      dropout(config.hidden_dropout_prob) {
  register_module("dense", dense);
  register_module("LayerNorm", layer_norm);
  register_module("dropout", dropout);
}

at::Tensor BertOutputImpl::forward(const at::Tensor& hidden, const at::Tensor& residual) {
  const Region region("output");
  return layer_norm(dropout(dense(hidden)) + residual);
}

BertAttentionImpl::BertAttentionImpl(const BertConfig& config)
    : self(config), output(config.hidden_size, config) {
  register_module("self", self);
  register_module("output", output);
}

at::Tensor BertAttentionImpl::forward(const at::Tensor& hidden, const at::Tensor& mask) {
  const Region region("attention");
  return output(self(hidden, mask), hidden);
}

BertIntermediateImpl::BertIntermediateImpl(const BertConfig& config)
    : dense(config.hidden_size, config.intermediate_size) {
  register_module("dense", dense);
}

at::Tensor BertIntermediateImpl::forward(const at::Tensor& hidden) {
  const Region region("intermediate");
  return at::gelu(dense(hidden));
}

BertLayerImpl::BertLayerImpl(const BertConfig& config)
    : attention(config), intermediate(config), output(config.intermediate_size, config) {
  register_module("attention", attention);
  register_module("intermediate", intermediate);
  register_module("output", output);
}

at::Tensor BertLayerImpl::forward(const at::Tensor& hidden, const at::Tensor& mask) {
  const auto attended = attention(hidden, mask);
  return output(intermediate(attended), attended);
}

BertEncoderImpl::BertEncoderImpl(const BertConfig& config) {
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) layer->push_back(BertLayer(config));
  register_module("layer", layer);
}

at::Tensor BertEncoderImpl::forward(at::Tensor hidden, const at::Tensor& mask) {
  const Region region("encoder");
  for (std::size_t i = 0; i < layer->size(); ++i) {
    const Region inner(fmt::format("layer.{}", i));
    hidden = layer->at<BertLayerImpl>(i).forward(hidden, mask);
  }
  return hidden;
}

BertSentenceEncoderImpl::BertSentenceEncoderImpl(const BertConfig& config)
    : embeddings(config), encoder(config) {
  register_module("embeddings", embeddings);
  register_module("encoder", encoder);
}

at::Tensor BertSentenceEncoderImpl::forward(const at::Tensor& input_ids,
                                            const at::Tensor& attention_mask) {
  const auto dtype = embeddings->word_embeddings->weight.scalar_type();
  const auto mask = additive_mask(attention_mask, dtype);
  const auto hidden = encoder(embeddings(input_ids), mask);
  const Region region("pooling");
  return mean_pool(hidden, attention_mask);
}

BertSentenceEncoder load_sentence_encoder(const std::filesystem::path& folder,
                                          Attention attention) {
  BertConfig config = BertConfig::load(folder / "config.json");
  config.attention = attention;
  BertSentenceEncoder encoder(config);
  // Sentence embeddings come from the mean of the tokens; the pooler's weights lie idle.
  load_weights(*encoder, importer::SafetensorsFile::open(folder / "model.safetensors"),
               {"pooler."});
  encoder->eval();
  for (auto& parameter : encoder->parameters()) parameter.requires_grad_(false);
  return encoder;
}

}  // namespace monograph::bench
