// Prints what the tracer makes of a model, as input for tests of passes that don't see LibTorch.
//
//   print_graph llama-1b|llama-8b|qwen3|bert|mlp LAYERS [explicit]
//
// Sizes are those of the real model, except for the number of layers and the vocabulary, which
// only costs memory. Caches, which a decode step writes, are recorded as copies of themselves and
// printed as the state that they are.
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <monograph/compiled_module.h>

#include <cstdio>
#include <map>
#include <string>

#include "bench/models/bert.h"
#include "bench/models/llama.h"
#include "bench/models/mlp.h"
#include "capture/ir/text.h"
#include "capture/ir/verify.h"
#include "capture/trace/tracer.h"

namespace monograph {
namespace {

ir::Graph record(const Module& module, const std::vector<at::Tensor>& inputs) {
  auto outcome = trace::record(module, inputs, "model");
  if (auto* rejection = std::get_if<Rejection>(&outcome)) throw RejectedError(*rejection);
  return std::move(std::get<trace::Recording>(outcome).graph);
}

/// Calls that copy a cache become reads of it: `%clone` of `%cache` goes, `%cache` is state.
void declare_state(ir::Graph& graph) {
  for (ir::Node* node : graph.node_vector()) {
    if (node->kind() != ir::NodeKind::kGetAttr || !node->target().ends_with("_cache")) continue;
    ir::Node* clone = node->users().at(0);
    graph.set_storage_kind(node->storage(), ir::StorageKind::kState);
    for (ir::Node* other : graph.node_vector()) {
      if (!other->has_tensor() || other->storage() != clone->storage() || other == clone) continue;
      graph.set_values(other, ir::Results::tensor(other->type(), node->storage()));
    }
    graph.replace_all_uses(clone, node);
    graph.erase(clone);
  }
}

ir::Graph llama(bench::LlamaConfig config, std::int64_t layers, bench::Attention style) {
  config.num_hidden_layers = layers;
  config.vocab_size = 512;
  config.style = style;
  auto decoder = bench::make_llama(config, at::kBFloat16);
  Module module = make_module<2>(decoder, {"token", "position"});
  module.forward = flat_forward<2>([decoder](const at::Tensor& token, const at::Tensor& position) {
    std::vector<std::pair<bench::LlamaAttentionImpl*, std::pair<at::Tensor, at::Tensor>>> kept;
    auto mutable_decoder = decoder;
    for (auto& m : mutable_decoder->modules(false)) {
      auto* a = m->as<bench::LlamaAttentionImpl>();
      if (a == nullptr) continue;
      kept.push_back({a, {a->key_cache, a->value_cache}});
      a->key_cache = a->key_cache.clone();
      a->value_cache = a->value_cache.clone();
    }
    auto out = mutable_decoder->forward(token, position);
    for (auto& [a, caches] : kept) std::tie(a->key_cache, a->value_cache) = caches;
    return out;
  });
  auto graph = record(module, {at::randint(512, {1, 1}, at::kLong), at::tensor({7}, at::kLong)});
  declare_state(graph);
  return graph;
}

ir::Graph bert(std::int64_t layers, bench::Attention style) {
  bench::BertConfig config;
  config.vocab_size = 512;
  config.hidden_size = 768;
  config.intermediate_size = 3072;
  config.num_hidden_layers = layers;
  config.attention = style;
  bench::BertSentenceEncoder encoder(config);
  encoder->eval();
  for (auto& p : encoder->parameters()) p.requires_grad_(false);
  constexpr std::int64_t kTokens = 128;
  auto mask = at::randint(2, {1, kTokens}, at::kLong);
  mask.select(1, 0).fill_(1);
  return record(make_module<2>(encoder, {"input_ids", "attention_mask"}),
                {at::randint(512, {1, kTokens}, at::kLong), mask});
}

ir::Graph make(const std::string& model, std::int64_t layers, bench::Attention style) {
  using bench::LlamaConfig;
  if (model == "llama-1b") return llama(LlamaConfig::llama_3_2_1b(), layers, style);
  if (model == "llama-8b") return llama(LlamaConfig::llama_3_1_8b(), layers, style);
  if (model == "qwen3") return llama(LlamaConfig::qwen3_0_6b(), layers, style);
  if (model == "bert") return bert(layers, style);
  if (model == "mlp") {
    bench::Mlp mlp(layers, 512);
    mlp->to(at::kHalf);
    return record(make_module<1>(mlp), {at::randn({1, 512}, at::kHalf)});
  }
  throw std::invalid_argument("unknown model " + model);
}

}  // namespace
}  // namespace monograph

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("usage: print_graph MODEL LAYERS [explicit]\n", stderr);
    return 2;
  }
  try {
    const auto style =
        argc > 3 ? monograph::bench::Attention::kExplicit : monograph::bench::Attention::kFused;
    const monograph::ir::Graph graph = monograph::make(argv[1], std::stoll(argv[2]), style);
    monograph::ir::verify(graph);
    std::fputs(monograph::ir::text(graph).c_str(), stdout);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "print_graph: %s\n", e.what());
    return 1;
  }
  return 0;
}
