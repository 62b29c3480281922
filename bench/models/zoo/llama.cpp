#include "bench/models/llama.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>

#include <optional>

#include "bench/models/zoo/build.h"

namespace monograph::bench {
namespace {

LlamaConfig adapted(LlamaConfig config, const ModelOptions& options) {
  if (options.layers > 0) config.num_hidden_layers = options.layers;
  if (options.length > 0) config.cache_length = options.length;
  config.batch = options.batch;
  return config;
}

double bytes_of(const LlamaConfig& given, const ModelOptions& options) {
  const LlamaConfig c = adapted(given, options);
  const std::int64_t attention =
      c.hidden_size * c.head_dim * 2 * (c.num_attention_heads + c.num_key_value_heads);
  const std::int64_t layer = attention + 3 * c.hidden_size * c.intermediate_size;
  const std::int64_t tables = (c.tie_word_embeddings ? 1 : 2) * c.vocab_size * c.hidden_size;
  const std::int64_t caches = 2 * c.batch * c.num_key_value_heads * c.cache_length * c.head_dim;
  return static_cast<double>(at::elementSize(options.dtype)) *
         static_cast<double>(c.num_hidden_layers * (layer + caches) + tables);
}

// One decoding step in the middle of a cache of `length` positions.
ModelCase make_decoder(LlamaConfig config, const ModelOptions& options) {
  config = adapted(config, options);
  seed_drawing(options.seed);
  std::optional<UnwrittenWeights> unwritten;
  if (options.unwritten) unwritten.emplace();
  LlamaDecoder decoder = make_llama(config, options.dtype);
  decoder->to(options.device);
  decoder->tie();
  const std::int64_t position = config.cache_length / 2;
  ModelCase made;
  made.inputs = {at::randint(config.vocab_size, {config.batch, 1}, at::kLong).to(options.device),
                 at::full({1}, position, at::kLong).to(options.device)};
  const double table = static_cast<double>(decoder->model->embed_tokens->weight.nbytes());
  made.read_bytes = weight_bytes(*decoder) - (config.tie_word_embeddings ? 0 : table);
  const auto element = static_cast<double>(at::elementSize(options.dtype));
  made.flop = 2.0 * static_cast<double>(config.batch) * made.read_bytes / element;
  made.read_bytes += 2.0 *
                     static_cast<double>(config.num_hidden_layers * config.batch *
                                         config.num_key_value_heads * position * config.head_dim) *
                     element;
  made.state = decoder->state_names();
  made.int_ranges = {{"token", {0, config.vocab_size}}, {"position", {0, config.cache_length}}};
  made.unit = "tokens";
  made.units_per_call = static_cast<double>(config.batch);
  made.module = make_module<2>(decoder, {"token", "position"});
  return made;
}

// A prompt of `length` tokens into empty caches as long: what comes before the first decoding step.
ModelCase make_prefill(LlamaConfig config, const ModelOptions& options) {
  constexpr std::int64_t kPrompt = 512;
  ModelOptions how = options;
  if (how.length == 0) how.length = kPrompt;
  ModelCase made = make_decoder(config, how);
  config = adapted(config, how);
  const std::int64_t tokens = config.cache_length;
  made.inputs = {
      at::randint(config.vocab_size, {config.batch, tokens}, at::kLong).to(options.device),
      at::arange(tokens, at::kLong).to(options.device)};
  const std::int64_t queries = config.num_attention_heads * config.head_dim;
  const std::int64_t keys = config.num_key_value_heads * config.head_dim;
  const std::int64_t layer = config.hidden_size * 2 * (queries + keys) +
                             3 * config.hidden_size * config.intermediate_size +
                             2 * tokens * queries;
  const std::int64_t head = config.hidden_size * config.vocab_size;
  made.flop = 2.0 * static_cast<double>(config.batch) *
              static_cast<double>(tokens * config.num_hidden_layers * layer + head);
  made.int_ranges = {{"token", {0, config.vocab_size}}, {"position", {0, tokens}}};
  made.units_per_call = static_cast<double>(config.batch * tokens);
  return made;
}

ModelCase make_1b(const ModelOptions& options) {
  return make_decoder(LlamaConfig::llama_3_2_1b(), options);
}
ModelCase make_8b(const ModelOptions& options) {
  return make_decoder(LlamaConfig::llama_3_1_8b(), options);
}
ModelCase make_qwen(const ModelOptions& options) {
  return make_decoder(LlamaConfig::qwen3_0_6b(), options);
}

const RegisterModel k1b(
    {"llama-3.2-1b", "Llama-3.2-1B decode step, static cache of 2,048 positions", make_1b,
     [](const ModelOptions& o) { return bytes_of(LlamaConfig::llama_3_2_1b(), o); }});
const RegisterModel k1bPrefill(
    {"llama-3.2-1b-prefill", "Llama-3.2-1B, a prompt of 512 tokens at once",
     [](const ModelOptions& o) { return make_prefill(LlamaConfig::llama_3_2_1b(), o); },
     [](const ModelOptions& o) { return bytes_of(LlamaConfig::llama_3_2_1b(), o); }});
const RegisterModel kQwenPrefill(
    {"qwen3-0.6b-prefill", "Qwen3-0.6B, a prompt of 512 tokens at once",
     [](const ModelOptions& o) { return make_prefill(LlamaConfig::qwen3_0_6b(), o); },
     [](const ModelOptions& o) { return bytes_of(LlamaConfig::qwen3_0_6b(), o); }});
const RegisterModel k8b(
    {"llama-3.1-8b", "Llama-3.1-8B decode step, static cache of 2,048 positions", make_8b,
     [](const ModelOptions& o) { return bytes_of(LlamaConfig::llama_3_1_8b(), o); }});
const RegisterModel kQwen({"qwen3-0.6b", "Qwen3-0.6B decode step, static cache of 2,048 positions",
                           make_qwen, [](const ModelOptions& o) {
                             return bytes_of(LlamaConfig::qwen3_0_6b(), o);
                           }});

}  // namespace
}  // namespace monograph::bench
