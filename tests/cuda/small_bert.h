// What tests of whole models and of faults trace: MiniLM's architecture, small.
#pragma once

#include <ATen/ATen.h>
#include <monograph/monograph.h>

#include <stdexcept>

#include "bench/models/bert.h"

namespace monograph::test {

using Tensors = std::vector<at::Tensor>;

inline bench::BertConfig small_bert(std::int64_t layers, bench::Attention attention) {
  bench::BertConfig c;
  c.vocab_size = 100;
  c.hidden_size = 32;
  c.num_hidden_layers = layers;
  c.num_attention_heads = 2;
  c.intermediate_size = 64;
  c.max_position_embeddings = 16;
  c.attention = attention;
  return c;
}

inline Program trace(const Module& module, const Tensors& inputs, const Options& options = {}) {
  auto traced = Program::trace(module, inputs, options);
  if (auto* rejection = std::get_if<Rejection>(&traced)) {
    throw std::runtime_error(rejection->to_string());
  }
  return std::get<Program>(std::move(traced));
}

/// Token numbers and a mask whose first row ends early.
inline Tensors tokens(std::int64_t rows, std::int64_t length) {
  at::Tensor mask = at::ones({rows, length}, at::kLong);
  mask.slice(0, 0, 1).slice(1, length - 1).zero_();
  return {at::randint(100, {rows, length}), mask};
}

inline Program bert(const bench::BertConfig& config, const Tensors& inputs,
                    const Options& options = {}) {
  bench::BertSentenceEncoder model(config);
  model->eval();
  for (auto& p : model->parameters()) p.requires_grad_(false);
  return trace(make_module<2>(model, {"input_ids", "attention_mask"}), inputs, options);
}
inline Program bert(bench::Attention attention, const Tensors& inputs,
                    const Options& options = {}) {
  return bert(small_bert(2, attention), inputs, options);
}

}  // namespace monograph::test
