// Forwards that can be captured: real modules of the C++ frontend and the idioms around them.
#include <ATen/autocast_mode.h>
#include <monograph/compiled_module.h>
#include <monograph/region.h>
#include <torch/torch.h>

#include <functional>

#include "capture/ir/text.h"
#include "capture/trace/interpreter.h"
#include "tests/trace/helpers.h"

namespace monograph::test {
namespace {

namespace nn = torch::nn;
using at::Tensor;

/// Draws inputs anew on each call.
using Draw = std::function<Tensors()>;

void check(const Module& module, const Draw& draw) {
  torch::manual_seed(7);
  expect_captured(module, draw(), {draw(), draw()});
}

Tensor floats(std::vector<std::int64_t> sizes) {
  return torch::randn(sizes);
}
Tensor ids(std::vector<std::int64_t> sizes, std::int64_t below) {
  return torch::randint(below, sizes, torch::kLong);
}

Draw drawn(std::vector<std::int64_t> sizes) {
  return [sizes = std::move(sizes)] { return Tensors{floats(sizes)}; };
}
Draw drawn_ids(std::vector<std::int64_t> sizes, std::int64_t below) {
  return [sizes = std::move(sizes), below] { return Tensors{ids(sizes, below)}; };
}

// --- modules of the C++ frontend ---

/// Embedding, norm, attention written by hand, convolution, einsum, writes through views.
struct BlockImpl : nn::Module {
  BlockImpl() {
    q = register_module("q", nn::Linear(64, 192));
    o = register_module("o", nn::Linear(64, 64));
    ln = register_module("ln", nn::LayerNorm(nn::LayerNormOptions({64})));
    emb = register_module("emb", nn::Embedding(100, 64));
    drop = register_module("drop", nn::Dropout(0.1));
    conv = register_module("conv", nn::Conv1d(nn::Conv1dOptions(64, 64, 3).padding(1)));
  }
  Tensor forward(const Tensor& tokens) {
    const auto b = tokens.size(0);
    const auto s = tokens.size(1);
    Tensor x = emb(tokens);
    {
      const Region region("attention");
      const auto qkv = q(ln(x)).view({b, s, 3, 4, 16}).permute({2, 0, 3, 1, 4}).unbind(0);
      auto a =
          at::matmul(at::softmax(at::matmul(qkv[0], qkv[1].transpose(-1, -2)) * 0.25, -1), qkv[2]);
      a = a.transpose(1, 2).reshape({b, s, 64});
      x = x + drop(o(a));
    }
    x = conv(x.transpose(1, 2)).transpose(1, 2).contiguous();
    auto z = torch::zeros({64}, x.options());
    z.add_(0.5);
    x = torch::cat({x, z.expand_as(x)}, -1);
    x.index({at::indexing::Slice(), 0}).mul_(2);
    return torch::softmax(torch::einsum("bsd,de->bse", {x, torch::ones({128, 8}, x.options())}),
                          -1);
  }
  nn::Linear q{nullptr}, o{nullptr};
  nn::LayerNorm ln{nullptr};
  nn::Embedding emb{nullptr};
  nn::Dropout drop{nullptr};
  nn::Conv1d conv{nullptr};
};
TORCH_MODULE(Block);

TEST(Models, Block) {
  Block block;
  block->eval();
  check(make_module<1>(block), drawn_ids({2, 16}, 100));
}

TEST(Models, WeightsAndRegionsAreNamed) {
  Block block;
  block->eval();
  const auto recording = record_or_fail(make_module<1>(block), {ids({2, 16}, 100)});
  std::vector<std::string> names;
  for (const auto& [name, tensor] : recording.weights) names.push_back(name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"conv.bias", "conv.weight", "emb.weight", "ln.bias",
                                      "ln.weight", "o.bias", "o.weight", "q.bias", "q.weight"}));
  const ir::Node* softmax = recording.graph.find("_softmax");
  ASSERT_NE(softmax, nullptr);
  EXPECT_EQ(softmax->module_path, "attention");
  const ir::Node* embedding = recording.graph.find("embedding");
  ASSERT_NE(embedding, nullptr);
  EXPECT_EQ(embedding->module_path, "");
  EXPECT_EQ(recording.graph.placeholders().front()->target(), "in_0");
}

TEST(Models, LinearOfTwoAndThreeDimensions) {
  nn::Linear linear(12, 5);
  check(make_module<1>(linear), drawn({3, 12}));
  check(make_module<1>(linear), drawn({2, 3, 12}));
  nn::Linear plain(nn::LinearOptions(12, 5).bias(false));
  check(make_module<1>(plain), drawn({2, 3, 12}));
}

TEST(Models, ZeroSizedInput) {
  nn::Linear linear(12, 5);
  check(make_module<1>(linear), drawn({0, 12}));
}

TEST(Models, Lstm) {
  nn::LSTM lstm(nn::LSTMOptions(6, 8).num_layers(2).batch_first(true));
  lstm->eval();
  check(make_module<1>(lstm), drawn({2, 5, 6}));
}

TEST(Models, ConvolutionAndBatchNorm) {
  nn::Sequential net(nn::Conv2d(nn::Conv2dOptions(3, 8, 3).stride(2)), nn::BatchNorm2d(8),
                     nn::ReLU(nn::ReLUOptions().inplace(true)),
                     nn::MaxPool2d(nn::MaxPool2dOptions(2)),
                     nn::AdaptiveAvgPool2d(nn::AdaptiveAvgPool2dOptions(2)), nn::Flatten());
  net->eval();
  check(make_module<1>(net), drawn({2, 3, 20, 20}));
}

TEST(Models, PoolOfOneDimension) {
  check(function([](const Tensors& in) {
          return Tensors{at::max_pool1d(in[0], 2), at::avg_pool1d(in[0], 2)};
        }),
        drawn({2, 3, 8}));
}

TEST(Models, MultiheadAttentionOnOneTensor) {
  nn::MultiheadAttention attention(nn::MultiheadAttentionOptions(16, 4));
  attention->eval();
  Module module = make_module<3>(attention);
  auto inner = module.forward;
  module.forward = [inner](const Tensors& in) { return inner({in[0], in[0], in[0]}); };
  check(module, drawn({5, 2, 16}));
}

TEST(Models, TransformerEncoderLayer) {
  nn::TransformerEncoderLayer layer(
      nn::TransformerEncoderLayerOptions(16, 4).dim_feedforward(32).dropout(0.1));
  layer->eval();
  check(make_module<1>(layer), drawn({5, 2, 16}));
}

/// One tensor under two names, and a buffer that views a part of it.
struct TiedImpl : nn::Module {
  TiedImpl() {
    emb = register_module("emb", nn::Embedding(20, 8));
    head = register_parameter("head", emb->weight);
    tail = register_buffer("tail", emb->weight.detach().slice(0, 12, 20).t());
  }
  std::vector<Tensor> forward(const Tensor& tokens) {
    const Tensor x = emb(tokens);
    return {at::linear(x, head), at::matmul(x, tail)};
  }
  nn::Embedding emb{nullptr};
  Tensor head, tail;
};
TORCH_MODULE(Tied);

TEST(Models, TiedWeightsShareNameAndMemory) {
  Tied tied;
  const Module module = make_module<1>(tied);
  check(module, drawn_ids({3, 4}, 20));
  const auto recording = record_or_fail(module, {ids({3, 4}, 20)});
  EXPECT_EQ(recording.weights.size(), 2U);
  const ir::Node* head = recording.graph.find("head");
  const ir::Node* tail = recording.graph.find("tail");
  ASSERT_TRUE(head != nullptr && tail != nullptr);
  EXPECT_EQ(head->storage(), tail->storage());
  EXPECT_EQ(tail->type().offset, 96);
}

// --- idioms of forwards ---

TEST(Idioms, ListsOfTensors) {
  check(function([](const Tensors& in) {
          const auto halves = in[0].chunk(2, -1);
          const auto parts = in[0].split_with_sizes({1, 2, 5}, 1);
          const auto rows = at::unbind(in[0]);
          return Tensors{halves[1] * halves[0], at::cat(parts, 1), rows[2] + rows[0]};
        }),
        drawn({3, 8}));
}

TEST(Idioms, SeveralResults) {
  check(function([](const Tensors& in) {
          const auto [value, index] = in[0].max(1);
          const auto [top, where] = in[0].topk(3);
          const auto [y, mean, rstd] = at::native_layer_norm(in[0], {8}, {}, {}, 1e-5);
          return Tensors{value, index, where, y + mean, top};
        }),
        drawn({3, 8}));
}

TEST(Idioms, NumbersOfAllKinds) {
  check(function([](const Tensors& in) {
          const Tensor& x = in[0];
          return Tensors{1.0 - x,
                         x / 3,
                         at::where(x > 0, x, 0.5),
                         at::pow(2.0, x),
                         at::add(x, x, 2),
                         x.to(at::kDouble) * 1e-3,
                         at::full({2, 2}, 3, at::kLong).to(x.dtype()) - x.mean(),
                         x.clamp(-0.5, std::nullopt),
                         at::arange(8) + x};
        }),
        drawn({3, 8}));
}

TEST(Idioms, ConstantsOfForward) {
  const Tensor outside = floats({8});
  check(function([outside](const Tensors& in) {
          const Tensor listed = torch::tensor({1.0F, 2.0F, -1.0F, 4.0F, 0.0F, 1.0F, 2.0F, 3.0F});
          const Tensor scalar = torch::tensor(0.25);
          return Tensors{in[0] * listed + outside, in[0] * scalar, outside};
        }),
        drawn({3, 8}));
}

TEST(Idioms, HostWrittenTensorsAreConstants) {
  const auto forward = [](const Tensors& in) {
    const Tensor from_vector = torch::tensor(std::vector<float>{3, 1, 2, 5, 4, 8, 7, 6});
    Tensor mask = torch::zeros({8, 8});
    auto rows = mask.accessor<float, 2>();
    for (int i = 0; i < 8; ++i) {
      for (int j = i + 1; j < 8; ++j) rows[i][j] = -100.0F;
    }
    Tensor y = in[0] * from_vector + mask;
    mask.add_(1);
    rows[0][0] = 50.0F;
    return Tensors{y, y + mask.t(), from_vector.slice(0, 2, 4)};
  };
  check(function(forward), drawn({8, 8}));
  const auto recording = record_or_fail(function(forward), {floats({8, 8})});
  EXPECT_EQ(recording.weights.size(), 3U);
}

TEST(Idioms, BorrowedHostMemoryIsCopied) {
  std::vector<float> table{1, 2, 3, 4};
  const Module module = function(
      [&table](const Tensors& in) { return Tensors{in[0] * torch::from_blob(table.data(), {4})}; });
  const Tensor x = floats({4});
  const auto recording = record_or_fail(module, {x});
  const Tensors want = eager(module, {x});
  table.assign(4, 0.0F);
  expect_close(trace::interpret(recording.graph, recording.weights, {x}), want, 0);
}

TEST(Idioms, WritesToIntermediates) {
  check(function([](const Tensors& in) {
          Tensor x = in[0].clone();
          x.select(0, 1).mul_(3);
          x.t().slice(0, 0, 4).add_(in[0].t().slice(0, 4, 8));
          x.masked_fill_(x > 2, 0.0);
          x.index_put_({torch::tensor({0, 2})}, in[0].index({torch::tensor({1, 1})}));
          Tensor out = torch::empty({3, 8});
          at::add_out(out, x, in[0]);
          Tensor grown = torch::empty({0});
          at::mul_out(grown, out, in[0]);
          at::_foreach_add_({out, grown}, 1.5);
          return Tensors{x, out, grown.relu_()};
        }),
        drawn({3, 8}));
}

TEST(Idioms, GeometryChangesOfIntermediates) {
  check(function([](const Tensors& in) {
          Tensor of_input = in[0].slice(0, 1);
          of_input.unsqueeze_(1).transpose_(0, 2);
          Tensor x = in[0] + of_input.mean();
          x.unsqueeze_(0).transpose_(1, 2);
          Tensor y = in[0] * 2;
          y.t_();
          Tensor z = in[0] - 1;
          z.resize_({2, 4});
          Tensor fresh = torch::empty({0});
          fresh.resize_({3, 8});
          fresh.copy_(in[0]);
          Tensor other = torch::empty({0});
          other.set_(y);
          y.add_(1);
          return Tensors{x, y * 1, z.contiguous(), fresh, other * 2};
        }),
        drawn({3, 8}));
}

TEST(Idioms, SecondTensorsOfOneMemory) {
  struct Cached : nn::Module {
    Cached() {
      weight = register_parameter("weight", torch::randn({4, 8}));
      transposed = weight.detach().t();  // a member that no dictionary knows
    }
    Tensor forward(const Tensor& x) { return at::matmul(x, transposed) + weight.data().sum(); }
    Tensor weight, transposed;
  };
  const auto cached = std::make_shared<Cached>();
  check(make_module<1>(cached), drawn({3, 8}));
  EXPECT_EQ(record_or_fail(make_module<1>(cached), {floats({3, 8})}).weights.size(), 1U);

  check(function([](const Tensors& in) {
          const Tensor bits = in[0].view(at::kInt);
          const Tensor y = in[0] * 2;
          const Tensor halves = y.view(at::kShort);
          y.data().add_(1);
          const Tensor same = y.variable_data();
          return Tensors{bits & 0x7fffffff, halves + 1, y.detach() * 2, same.t() + 0};
        }),
        drawn({3, 8}));
}

TEST(Idioms, InputsWithStridesAndOffsets) {
  const auto forward = [](const Tensors& in) {
    return Tensors{in[0].as_strided({2, 3}, {1, 1}, in[0].storage_offset() + 1) * 2, in[1] + in[0],
                   in[0].data().narrow(1, 1, 2) + 0};
  };
  const auto draw = [] {
    return Tensors{floats({5, 8}).slice(0, 2, 5).slice(1, 0, 8), floats({3, 1}).expand({3, 8})};
  };
  check(function(forward), draw);
  // The same graph serves a tensor that begins elsewhere in its memory.
  const auto recording = record_or_fail(function(forward), draw());
  EXPECT_EQ(recording.graph.placeholders()[0]->type().offset, 0);
  const Tensors moved{floats({3, 8}), floats({3, 1}).expand({3, 8})};
  expect_close(trace::interpret(recording.graph, recording.weights, moved),
               eager(function(forward), moved), 0);
}

TEST(Idioms, CapturedInputIsAConstant) {
  const Tensor x = floats({3});
  const Module module = function([x](const Tensors& in) { return Tensors{in[0] * x}; });
  expect_captured(module, {x}, {{floats({3})}, {floats({3})}});
}

TEST(Idioms, OutputsOfAllKinds) {
  struct Holder : nn::Module {
    Holder() { weight = register_parameter("weight", torch::randn({4})); }
    std::tuple<Tensor, std::tuple<Tensor, std::vector<Tensor>>> forward(const Tensor& x) {
      const Tensor y = x + weight;
      return {x, {weight, {y, y, y.slice(0, 1, 3)}}};
    }
    Tensor weight;
  };
  const auto holder = std::make_shared<Holder>();
  check(make_module<1>(holder), drawn({4}));
}

TEST(Idioms, EvalDropoutIsNoRandomness) {
  check(function([](const Tensors& in) {
          const Tensor a = at::dropout(in[0], 0.5, false);
          const Tensor b = at::feature_dropout(a, 0.5, false);
          const Tensor c = at::alpha_dropout(b * 2, 0.5, false);
          const Tensor d = at::dropout(c, 0.0, true);
          return Tensors{at::rrelu(d), a};
        }),
        drawn({3, 8}));
}

TEST(Idioms, AttentionIsKeptWhole) {
  const auto forward = [](const Tensors& in) {
    return Tensors{at::scaled_dot_product_attention(in[0], in[1], in[2])};
  };
  const auto draw = [] {
    return Tensors{floats({1, 2, 4, 8}), floats({1, 2, 6, 8}), floats({1, 2, 6, 8})};
  };
  check(function(forward), draw);
  const auto recording = record_or_fail(function(forward), draw());
  EXPECT_EQ(targets(recording.graph), (std::vector<std::string>{"scaled_dot_product_attention"}));
}

TEST(Idioms, ValuesThatNoInputReaches) {
  check(function([](const Tensors& in) {
          const auto n = at::arange(5).max().item<std::int64_t>();
          const Tensor where = at::nonzero(at::eye(3));
          return Tensors{in[0] * n, where};
        }),
        drawn({3}));
}

TEST(Idioms, IndexingWithIntegersAndOneHot) {
  check(function([](const Tensors& in) {
          return Tensors{in[0].index({in[1]}), at::one_hot(in[1], 4), at::embedding(in[0], in[1]),
                         in[0].index_select(0, in[1]), at::repeat_interleave(in[0], 2, 0)};
        }),
        [] {
          return Tensors{floats({4, 3}), ids({5}, 4)};
        });
}

TEST(Idioms, ReducedPrecision) {
  check(function([](const Tensors& in) {
          const Tensor h = in[0].to(at::kBFloat16);
          return Tensors{at::matmul(h, h.t()), (h * 0.1).to(at::kHalf), at::softmax(h, -1)};
        }),
        drawn({3, 8}));
}

TEST(Idioms, CastsOfAutocastAreRecorded) {
  const Tensor weight = floats({4, 8});
  Module module = function([weight](const Tensors& in) {
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::set_autocast_enabled(at::kCPU, true);
    const Tensor y = at::linear(in[0], weight);
    at::autocast::set_autocast_enabled(at::kCPU, false);
    return Tensors{y};
  });
  module.tensors = {{"weight", weight, false}};
  check(module, drawn({3, 8}));
  const auto recording = record_or_fail(module, {floats({3, 8})});
  EXPECT_EQ(targets(recording.graph), (std::vector<std::string>{"_to_copy", "_to_copy", "linear"}));
}

TEST(Idioms, DefaultArgumentsAreLeftOutAndKeywordsNamed) {
  const auto recording =
      record_or_fail(function([](const Tensors& in) {
                       return Tensors{at::add(in[0], in[0]), at::add(in[0], in[0], 2),
                                      in[0].sum({0}, true), at::zeros({2}, at::kLong)};
                     }),
                     {floats({3})});
  const std::string text = ir::text(recording.graph);
  EXPECT_NE(text.find("aten.add.Tensor](args = (%in_0, %in_0), kwargs = {})"), std::string::npos)
      << text;
  EXPECT_NE(text.find("kwargs = {alpha: 2}"), std::string::npos) << text;
  EXPECT_NE(text.find("args = (%in_0, [0], True), kwargs = {})"), std::string::npos) << text;
  EXPECT_NE(text.find("dtype: torch.int64"), std::string::npos) << text;
}

}  // namespace
}  // namespace monograph::test
