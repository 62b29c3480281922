// BERT sentence encoder for inference: embeddings, transformer layers, mean pooling.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <cstdint>
#include <filesystem>
#include <string>

namespace monograph::bench {

/// How attention is written: one fused operator, or matmul, softmax, matmul by hand.
enum class Attention : std::uint8_t { kFused, kExplicit };

/// Sizes of the network, as in Hugging Face's config.json.
struct BertConfig {
  std::int64_t vocab_size = 30522;
  std::int64_t hidden_size = 384;
  std::int64_t num_hidden_layers = 6;
  std::int64_t num_attention_heads = 12;
  std::int64_t intermediate_size = 1536;
  std::int64_t max_position_embeddings = 512;
  std::int64_t type_vocab_size = 2;
  double layer_norm_eps = 1e-12;
  double hidden_dropout_prob = 0.1;
  double attention_probs_dropout_prob = 0.1;
  Attention attention = Attention::kFused;

  /// Reads `config.json`. Error(kInvalidFile) if it can't be read, a size is missing or not a
  /// positive number, or the model is of a kind that this encoder doesn't implement.
  static BertConfig load(const std::filesystem::path& file);
};

struct BertEmbeddingsImpl : torch::nn::Module {
  explicit BertEmbeddingsImpl(const BertConfig& config);
  /// `input_ids` i64[B, T] -> f32[B, T, H]
  at::Tensor forward(const at::Tensor& input_ids);

  torch::nn::Embedding word_embeddings, position_embeddings, token_type_embeddings;
  torch::nn::LayerNorm layer_norm;
  torch::nn::Dropout dropout;
  at::Tensor position_ids;  ///< i64[1, max_position_embeddings]
};
TORCH_MODULE(BertEmbeddings);

/// Multi-head attention of the sequence to itself.
struct BertSelfAttentionImpl : torch::nn::Module {
  explicit BertSelfAttentionImpl(const BertConfig& config);
  /// `hidden` f32[B, T, H], `mask` f32[B, 1, 1, T], added to the scores -> f32[B, T, H]
  at::Tensor forward(const at::Tensor& hidden, const at::Tensor& mask);

  torch::nn::Linear query, key, value;
  torch::nn::Dropout dropout;
  std::int64_t heads;
  std::int64_t head_size;
  Attention kind;
};
TORCH_MODULE(BertSelfAttention);

/// dense, then residual and norm: the end of both halves of a layer.
struct BertOutputImpl : torch::nn::Module {
  BertOutputImpl(std::int64_t inputs, const BertConfig& config);
  at::Tensor forward(const at::Tensor& hidden, const at::Tensor& residual);

  torch::nn::Linear dense;
  torch::nn::LayerNorm layer_norm;
  torch::nn::Dropout dropout;
};
TORCH_MODULE(BertOutput);

struct BertAttentionImpl : torch::nn::Module {
  explicit BertAttentionImpl(const BertConfig& config);
  at::Tensor forward(const at::Tensor& hidden, const at::Tensor& mask);

  BertSelfAttention self;
  BertOutput output;
};
TORCH_MODULE(BertAttention);

struct BertIntermediateImpl : torch::nn::Module {
  explicit BertIntermediateImpl(const BertConfig& config);
  at::Tensor forward(const at::Tensor& hidden);

  torch::nn::Linear dense;
};
TORCH_MODULE(BertIntermediate);

struct BertLayerImpl : torch::nn::Module {
  explicit BertLayerImpl(const BertConfig& config);
  at::Tensor forward(const at::Tensor& hidden, const at::Tensor& mask);

  BertAttention attention;
  BertIntermediate intermediate;
  BertOutput output;
};
TORCH_MODULE(BertLayer);

struct BertEncoderImpl : torch::nn::Module {
  explicit BertEncoderImpl(const BertConfig& config);
  at::Tensor forward(at::Tensor hidden, const at::Tensor& mask);

  torch::nn::ModuleList layer;
};
TORCH_MODULE(BertEncoder);

/// Sentence embeddings as sentence-transformers makes them: BERT without its pooler, mean over the
/// tokens that the mask selects, scaled to length 1. Parameters carry Hugging Face's names.
struct BertSentenceEncoderImpl : torch::nn::Module {
  explicit BertSentenceEncoderImpl(const BertConfig& config);
  /// `input_ids`, `attention_mask` (1 token, 0 padding) i64[B, T] -> f32[B, H]. T at most
  /// max_position_embeddings.
  at::Tensor forward(const at::Tensor& input_ids, const at::Tensor& attention_mask);

  BertEmbeddings embeddings;
  BertEncoder encoder;
};
TORCH_MODULE(BertSentenceEncoder);

/// Longest input in tokens that the model in `folder` is meant for: max_seq_length of its
/// sentence_bert_config.json if there is one, else max_position_embeddings. Error(kInvalidFile) if
/// it isn't from 2 to max_position_embeddings.
std::int64_t load_max_length(const std::filesystem::path& folder);

/// The encoder with the weights of `model.safetensors` and the sizes of `config.json` in `folder`,
/// ready for inference: eval mode, no gradients. Error(kInvalidFile) names what is wrong.
BertSentenceEncoder load_sentence_encoder(const std::filesystem::path& folder,
                                          Attention attention = Attention::kFused);

}  // namespace monograph::bench
