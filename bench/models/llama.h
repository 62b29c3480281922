// Llama and Qwen3 decoders as inference engines write them: one token a call, keys and values in
// caches of fixed size that the module owns.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/container/modulelist.h>

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "bench/models/bert.h"
#include "bench/models/drawn.h"

namespace monograph::bench {

/// Sizes of the network, named as in Hugging Face's config.json, and of the caches.
struct LlamaConfig {
  std::int64_t vocab_size = 128256;
  std::int64_t hidden_size = 2048;
  std::int64_t intermediate_size = 8192;
  std::int64_t num_hidden_layers = 16;
  std::int64_t num_attention_heads = 32;
  std::int64_t num_key_value_heads = 8;
  std::int64_t head_dim = 64;
  double rms_norm_eps = 1e-5;
  double rope_theta = 500000.0;
  /// Llama 3.1's stretched rotary frequencies; 1 leaves them as they are.
  double rope_factor = 1.0;
  bool tie_word_embeddings = true;
  bool query_key_norm = false;  ///< RMS norm per head on queries and keys (Qwen3)
  std::int64_t batch = 1;
  std::int64_t cache_length = 2048;  ///< positions in the caches
  /// kExplicit: norms and attention written out operator by operator.
  Attention style = Attention::kFused;
  at::ScalarType dtype = at::kFloat;

  static LlamaConfig llama_3_2_1b();
  static LlamaConfig llama_3_1_8b();
  static LlamaConfig qwen3_0_6b();
};

struct RmsNormImpl : torch::nn::Module {
  RmsNormImpl(std::int64_t size, const LlamaConfig& config);
  at::Tensor forward(const at::Tensor& x);

  at::Tensor weight;
  double eps;
  Attention style;
};
TORCH_MODULE(RmsNorm);

/// What a step shares among layers.
struct DecodeStep {
  at::Tensor position;  ///< i64[T]: where the tokens' keys and values go
  at::Tensor cos, sin;  ///< [1, 1, T, head_dim]
  at::Tensor mask;      ///< bool[1, 1, T, cache_length]: positions up to each token's
};

struct LlamaAttentionImpl : torch::nn::Module {
  explicit LlamaAttentionImpl(const LlamaConfig& config);
  /// [B, T, H] -> [B, T, H]; writes T positions of the caches.
  at::Tensor forward(const at::Tensor& hidden, const DecodeStep& step);

  Projection q_proj{nullptr}, k_proj{nullptr}, v_proj{nullptr}, o_proj{nullptr};
  RmsNorm q_norm{nullptr}, k_norm{nullptr};
  at::Tensor key_cache, value_cache;  ///< [B, key-value heads, cache_length, head_dim]
  LlamaConfig config;

 private:
  at::Tensor attend(const at::Tensor& q, const at::Tensor& mask);
};
TORCH_MODULE(LlamaAttention);

struct LlamaMlpImpl : torch::nn::Module {
  explicit LlamaMlpImpl(const LlamaConfig& config);
  at::Tensor forward(const at::Tensor& x);

  Projection gate_proj{nullptr}, up_proj{nullptr}, down_proj{nullptr};
};
TORCH_MODULE(LlamaMlp);

struct LlamaLayerImpl : torch::nn::Module {
  explicit LlamaLayerImpl(const LlamaConfig& config);
  at::Tensor forward(const at::Tensor& hidden, const DecodeStep& step);

  RmsNorm input_layernorm{nullptr}, post_attention_layernorm{nullptr};
  LlamaAttention self_attn{nullptr};
  LlamaMlp mlp{nullptr};
};
TORCH_MODULE(LlamaLayer);

struct LlamaModelImpl : torch::nn::Module {
  explicit LlamaModelImpl(const LlamaConfig& config);
  /// `token` i64[B, T], `position` i64[T] -> of the last token [B, 1, H], normed
  at::Tensor forward(const at::Tensor& token, const at::Tensor& position);

  Table embed_tokens{nullptr};
  torch::nn::ModuleList layers;
  RmsNorm norm{nullptr};
  at::Tensor cos, sin;  ///< [cache_length, head_dim]
};
TORCH_MODULE(LlamaModel);

/// One greedy decoding step, or a prompt's T tokens at once. Weights carry Hugging Face's names.
/// Parameters are drawn from a bell-shaped distribution of deviation 0.02, or loaded by
/// `load_weights`.
struct LlamaDecoderImpl : torch::nn::Module {
  explicit LlamaDecoderImpl(const LlamaConfig& config);
  /// `token` i64[B, T], `position` i64[T] -> next token i64[B, 1], logits [B, V].
  /// Position p must be the p-th token since the caches were cleared.
  std::tuple<at::Tensor, at::Tensor> forward(const at::Tensor& token, const at::Tensor& position);
  /// Names of the caches, which a call changes and which must be declared as mutable state.
  std::vector<std::string> state_names() const;
  void clear_caches();
  /// Gives the tied head the embedding's memory again: a conversion of the module's type or device
  /// leaves each parameter with memory of its own. Nothing if the embeddings aren't tied.
  void tie();

  LlamaModel model{nullptr};
  Projection lm_head{nullptr};
  bool tied;
};
TORCH_MODULE(LlamaDecoder);

/// A decoder for inference: drawn weights of `dtype`, eval mode, no gradients.
LlamaDecoder make_llama(const LlamaConfig& config, at::ScalarType dtype);

}  // namespace monograph::bench
