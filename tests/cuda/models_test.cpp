// Whole models on the virtual GPU, as graphs and on streams, in many orders.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include <map>
#include <regex>

#include "bench/models/dlrm.h"
#include "bench/models/llama.h"
#include "bench/models/mlp.h"
#include "bench/models/resnet.h"
#include "bench/models/vit.h"
#include "tests/cuda/small_bert.h"
#include "tests/cuda/virtual_device.h"

namespace monograph::test {
namespace {

template <class Net>
void for_inference(Net& net) {
  net->eval();
  for (auto& p : net->parameters()) p.requires_grad_(false);
}

/// Options under which tracing runs the passes of a back end.
Options passes_of(const char* backend) {
  Options options;
  options.backend = backend;
  return options;
}

TEST(Models, BertInAllOrders) {
  for (const auto attention : {bench::Attention::kFused, bench::Attention::kExplicit}) {
    for (const std::int64_t rows : {1, 3}) {
      if (rows == 3 && !exhaustive()) continue;
      for (const char* backend : {"host", "cuda"}) {
        const Program program = bert(attention, tokens(rows, 8), passes_of(backend));
        expect_same_in_all_orders(program, {tokens(rows, 8), tokens(rows, 8)});
      }
    }
  }
}

TEST(Models, MlpInAllOrders) {
  const bench::Mlp model(4, 48);
  for (const std::int64_t rows : {1, 5}) {
    for (const char* backend : {"host", "cuda"}) {
      const Program program =
          trace(make_module<1>(model), {at::randn({rows, 48})}, passes_of(backend));
      expect_same_in_all_orders(program, {{at::randn({rows, 48})}, {at::randn({rows, 48})}});
    }
  }
}

TEST(Models, VisionTransformerInAllOrders) {
  bench::VitConfig c;
  c.image_size = 16;
  c.patch_size = 8;
  c.hidden_size = 32;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 2;
  c.intermediate_size = 48;
  c.classes = 10;
  bench::Vit net(c);
  for_inference(net);
  const auto images = [] { return Tensors{at::randn({2, 3, 16, 16})}; };
  expect_same_in_all_orders(trace(make_module<1>(net, {"images"}), images()), {images(), images()});
}

TEST(Models, ResidualNetworkInAllOrders) {
  bench::ResNet net(std::array<std::int64_t, 4>{1, 1, 1, 1}, 10);
  for_inference(net);
  const auto images = [] { return Tensors{at::randn({1, 3, 32, 32})}; };
  expect_same_in_all_orders(trace(make_module<1>(net, {"images"}), images()), {images(), images()});
}

TEST(Models, ClickRateModelInAllOrders) {
  bench::DlrmConfig c;
  c.tables = 4;
  c.rows = 50;
  c.width = 16;
  c.bottom = {32};
  c.top = {32, 16};
  bench::Dlrm net(c);
  for_inference(net);
  const auto clicks = [] { return Tensors{at::randn({3, 13}), at::randint(50, {3, 4})}; };
  expect_same_in_all_orders(trace(make_module<2>(net, {"dense", "categories"}), clicks()),
                            {clicks(), clicks()});
}

/// A step writes its position of the caches, and the same values each time it is repeated.
TEST(Models, DecoderStepInAllOrders) {
  for (const auto style : {bench::Attention::kFused, bench::Attention::kExplicit}) {
    bench::LlamaConfig c;
    c.vocab_size = 100;
    c.hidden_size = 32;
    c.intermediate_size = 48;
    c.num_hidden_layers = 2;
    c.num_attention_heads = 4;
    c.num_key_value_heads = 2;
    c.head_dim = 8;
    c.cache_length = 12;
    c.style = style;
    c.query_key_norm = style == bench::Attention::kFused;
    bench::LlamaDecoder net = bench::make_llama(c, at::kFloat);
    const auto step = [](std::int64_t position) {
      return Tensors{at::randint(100, {1, 1}), at::full({1}, position, at::kLong)};
    };
    Options options;
    const std::vector<std::string> caches = net->state_names();
    options.mutable_state.assign(caches.begin(), caches.end());
    const Module module = make_module<2>(net, {"token", "position"});
    expect_same_in_all_orders(trace(module, step(0), options), {step(0), step(1)});
  }
}

TEST(Models, BranchesStayParallel) {
  Module module;
  module.forward = [](const Tensors& in) -> Tensors {
    return {in[0].exp().neg().sin() * 2, in[1].exp().neg().sin() * 3};
  };
  const Program program = trace(module, {at::randn({40}), at::randn({50})});
  Executable e = Executable::build(program, cuda_options());
  const std::string text = e.dump("graph_nodes");
  // Nodes of one output's chain never wait for the other's: two components of equal size.
  std::map<int, int> component;
  const std::regex node("node (\\d+) "), edge("edge (\\d+) -> (\\d+)");
  for (std::sregex_iterator i(text.begin(), text.end(), node), end; i != end; ++i) {
    component[std::stoi((*i)[1])] = std::stoi((*i)[1]);
  }
  for (std::sregex_iterator i(text.begin(), text.end(), edge), end; i != end; ++i) {
    const int from = component[std::stoi((*i)[1])];
    const int to = component[std::stoi((*i)[2])];
    for (auto& [n, c] : component) c = c == to ? from : c;
  }
  std::map<int, int> sizes;
  for (const auto& [n, c] : component) ++sizes[c];
  ASSERT_EQ(sizes.size(), 2u) << text;
  EXPECT_EQ(sizes.begin()->second, sizes.rbegin()->second) << text;
  expect_same_in_all_orders(program, {{at::randn({40}), at::randn({50})}});
}

}  // namespace
}  // namespace monograph::test
