#include "bench/models/bert.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>

#include "bench/models/zoo/build.h"

namespace monograph::bench {
namespace {

ModelCase make_bert(BertConfig config, std::int64_t usual_length, const ModelOptions& options) {
  if (options.layers > 0) config.num_hidden_layers = options.layers;
  const std::int64_t length = options.length > 0 ? options.length : usual_length;
  seed_drawing(options.seed);
  BertSentenceEncoder encoder(config);
  for_inference(*encoder);
  place(*encoder, options);
  ModelCase made;
  made.inputs = {
      at::randint(config.vocab_size, {options.batch, length}, at::kLong).to(options.device),
      at::ones({options.batch, length}, at::kLong).to(options.device)};
  const auto layer = 4 * config.hidden_size * config.hidden_size +
                     2 * config.hidden_size * config.intermediate_size;
  const auto attention = 2 * length * config.hidden_size;
  const auto tokens = options.batch * length;
  made.flop = 2.0 * static_cast<double>(config.num_hidden_layers) *
              static_cast<double>(tokens * (layer + attention));
  const double tables = weight_bytes(*encoder->embeddings);
  made.read_bytes = weight_bytes(*encoder) - tables;
  made.unit = "sequences";
  made.units_per_call = static_cast<double>(options.batch);
  made.int_ranges = {{"input_ids", {0, config.vocab_size}}, {"attention_mask", {1, 2}}};
  made.module = make_module<2>(encoder, {"input_ids", "attention_mask"});
  return made;
}

ModelCase make_minilm(const ModelOptions& options) {
  return make_bert({}, 32, options);
}

ModelCase make_base(const ModelOptions& options) {
  BertConfig config;
  config.hidden_size = 768;
  config.num_hidden_layers = 12;
  config.intermediate_size = 3072;
  return make_bert(config, 128, options);
}

const RegisterModel kMiniLm({"minilm", "MiniLM-L6 sentence encoder, 32 tokens, drawn weights",
                             make_minilm});
const RegisterModel kBase({"bert-base",
                           "BERT-base encoder with mean pooling, 128 tokens, drawn weights",
                           make_base});

}  // namespace
}  // namespace monograph::bench
