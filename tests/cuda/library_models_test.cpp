// How real models come apart on the device: what runs on kernels of ours, in libraries, and is left
// to LibTorch, by shapes alone. Neither LibTorch nor a device.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "capture/ir/analysis.h"
#include "capture/ir/text.h"
#include "capture/ir/verify.h"
#include "capture/passes/fusion/expand.h"
#include "capture/passes/pass.h"
#include "runtime/cuda/backend/convert_call.h"
#include "runtime/cuda/backend/prefer.h"
#include "runtime/cuda/library/match.h"

namespace monograph::cuda {
namespace {

/// Agrees to keep any constant, by its type alone.
class TypesOnly final : public passes::ConstantEvaluator {
 public:
  std::optional<std::vector<passes::FoldedConstant>> evaluate(const ir::Node& node) override {
    std::vector<passes::FoldedConstant> constants;
    for (const ir::Value& v : node.values()) {
      constants.push_back({fmt::format("folded_{}", made_++), v.type, v.type.storage_extent()});
    }
    return constants;
  }

 private:
  int made_ = 0;
};

struct Found {
  std::string how;     ///< "own", "matmul", "convolution", "aten"
  std::string reason;  ///< for "aten"
};

/// As the back end chooses where a library has a way for every problem.
Found find(const ir::Node& node) {
  std::string why;
  const auto call = to_kernel_call(node, &why);
  if (!call) return {"aten", why};
  const kernels::Match match = kernels::select(call->call, kernels::Target{});
  if (!match.instance || match.instance->kernel == kLibraryFirst) {
    if (const auto library = match_library(call->call, &why)) {
      const bool product = std::holds_alternative<MatmulProblem>(library->problem);
      return {product ? "matmul" : "convolution", ""};
    }
    if (!match.instance) return {"aten", match.reason + "; library: " + why};
  }
  why = why_library(call->call, *match.instance, kernels::Target{});
  return {why.empty() ? "own" : "aten", why};
}

struct Counts {
  std::map<std::string, int> by_how;
  int launches = 0;
  std::string text;
  int of(const std::string& how) const {
    const auto at = by_how.find(how);
    return at == by_how.end() ? 0 : at->second;
  }
};

Counts count(ir::Graph graph, const std::string& layer = {}) {
  TypesOnly folder;
  passes::PassContext context{&folder};
  passes::run_passes(graph, passes::fused_pipeline(), context);
  passes::expand_fusions(graph, [](const ir::Node& call) { return find(call).reason; });
  ir::verify(graph);
  Counts counts;
  for (const auto& node : graph.nodes()) {
    if (node->kind() != ir::NodeKind::kCallFunction || ir::is_view(*node) ||
        !node->module_path.starts_with(layer)) {
      continue;
    }
    const Found found = find(*node);
    ++counts.by_how[found.how];
    ++counts.launches;
    counts.text +=
        fmt::format("%{} {} {} {}\n", node->name(), node->target(), found.how, found.reason);
  }
  return counts;
}

ir::Graph read_model(const std::string& name) {
  std::ifstream file(std::string(MODELS) + "/" + name + ".txt");
  std::stringstream text;
  text << file.rdbuf();
  return ir::parse(text.str());
}

std::string replaced(std::string s, const std::string& what, const std::string& with) {
  for (std::size_t at = 0; (at = s.find(what, at)) != std::string::npos; at += with.size()) {
    s.replace(at, what.size(), with);
  }
  return s;
}

TEST(LibraryModels, BertLayer) {
  const Counts erf = count(read_model("bert_base"), "encoder.layer.0");
  EXPECT_EQ(erf.of("matmul"), 4) << erf.text;
  EXPECT_EQ(erf.of("aten"), 0) << erf.text;
  EXPECT_LE(erf.launches, 8) << erf.text;  // in f32, GELU by erf is a launch of its own
  const std::string text = ir::text(read_model("bert_base"));
  const std::string gelu = "aten.gelu.default](args = (%add__5,), kwargs = {";
  const std::string tanh = replaced(text, gelu, gelu + "approximate: \"tanh\"");
  ASSERT_NE(tanh, text);
  const Counts fused = count(ir::parse(tanh), "encoder.layer.0");
  EXPECT_EQ(fused.of("matmul"), 4) << fused.text;
  EXPECT_EQ(fused.of("aten"), 0) << fused.text;
  EXPECT_LE(fused.launches, 7) << fused.text;
  // In halves, a product of ours takes GELU by erf in.
  const Counts halves = count(ir::parse(replaced(text, "f32[", "f16[")), "encoder.layer.0");
  EXPECT_EQ(halves.of("matmul"), 3) << halves.text;
  EXPECT_EQ(halves.of("aten"), 0) << halves.text;
  EXPECT_LE(halves.launches, 7) << halves.text;
}

/// A product and GELU by erf of `vectors` of `elements`, to `units`.
Counts product(std::int64_t vectors, std::int64_t elements, std::int64_t units) {
  const std::string result = fmt::format("f16[{},{}]", vectors, units);
  return count(ir::parse(fmt::format(
      "graph g {{\n  %x : f16[{},{}] = placeholder[target=x]\n"
      "  %w : f16[{},{}] = get_attr[target=w, kind=parameter]\n  %b : f16[{}] = get_attr[target=b, "
      "kind=parameter]\n"
      "  %l : {} = call_function[target=aten.linear.default](args = (%x, %w, %b), kwargs = {{}})\n"
      "  %y : {} = call_function[target=aten.gelu.default](args = (%l,), kwargs = {{}})\n"
      "  return (%y,)\n}}",
      vectors, elements, units, elements, units, result, result)));
}

TEST(LibraryModels, ProductsWithGeluWhereOneLaunchIsFaster) {
  const auto launches = [](const Counts& c) { return std::pair(c.of("own"), c.of("matmul")); };
  const std::pair one(1, 0);
  const std::pair two(1, 1);
  EXPECT_EQ(launches(product(128, 384, 1536)), one);  // MiniLM
  EXPECT_EQ(launches(product(128, 768, 3072)), one);  // BERT
  EXPECT_EQ(launches(product(197, 768, 3072)), two);  // ViT
  EXPECT_EQ(launches(product(1024, 768, 3072)), two);
}

TEST(LibraryModels, ADecodingStepOfLlamaNeedsNone) {
  const Counts counts = count(read_model("llama_1b"));
  EXPECT_EQ(counts.of("own"), counts.launches) << counts.text;
}

/// Attention of `queries` by `keys` tokens in halves or f32.
std::string attention(std::int64_t heads, std::int64_t queries, std::int64_t keys,
                      const std::string& dtype, const std::string& mask = {}) {
  std::string s = fmt::format(
      "graph g {{\n  %q : {0}[1,{1},{2},64] = placeholder[target=q]\n"
      "  %k : {0}[1,{1},{3},64] = placeholder[target=k]\n",
      dtype, heads, queries, keys);
  if (!mask.empty()) {
    s += fmt::format("  %m : bool[1,1,{},{}] = placeholder[target=m]\n", queries, keys);
  }
  s += fmt::format(
      "  %y : {}[1,{},{},64] = call_function[target=aten.scaled_dot_product_attention.default]"
      "(args = (%q, %k, %k{}), kwargs = {{}})\n  return (%y,)\n}}",
      dtype, heads, queries, mask);
  return s;
}

TEST(LibraryModels, LongAttentionGoesToLibTorch) {
  const auto how = [](const std::string& text) {
    const ir::Graph graph = ir::parse(text);
    return find(*graph.find("y")).how;
  };
  EXPECT_EQ(how(attention(32, 1, 4096, "bf16")), "own");  // decoding
  EXPECT_EQ(how(attention(12, 32, 32, "f16")), "own");    // MiniLM
  EXPECT_EQ(how(attention(12, 197, 197, "f16")), "own");  // ViT
  EXPECT_EQ(how(attention(12, 128, 128, "f16", ", %m")), "own");
  EXPECT_EQ(how(attention(32, 256, 2048, "bf16")), "aten");  // prefill
  EXPECT_EQ(how(attention(32, 2048, 2048, "bf16")), "aten");
  // No flash kernel for these.
  EXPECT_EQ(how(attention(32, 256, 2048, "f32")), "own");
  EXPECT_EQ(how(attention(32, 256, 2048, "bf16", ", %m")), "own");
}

/// ResNet as it is traced from its module in halves, row by row.
class ResNet {
 public:
  ResNet() : graph_("resnet50") {}

  ir::Graph build() {
    ir::Node* x = graph_.placeholder("images", type({1, 3, 224, 224}));
    x = relu(norm(convolution(x, 64, 7, 2)));
    x = pool(x);
    const int blocks[4] = {3, 4, 6, 3};
    for (int stage = 0; stage < 4; ++stage) {
      for (int b = 0; b < blocks[stage]; ++b) {
        x = bottleneck(x, std::int64_t{64} << stage, stage > 0 && b == 0 ? 2 : 1);
      }
    }
    const ir::Arg dims = ints({-1, -2});
    x = call("aten.mean.dim", {ir::Arg(x), dims, ir::Arg(true)}, type({1, 2048, 1, 1}));
    ir::Node* flat = graph_.call("aten.view.default", {ir::Arg(x), ints({1, 2048})}, {},
                                 ir::Results::tensor(type({1, 2048}), x->storage()));
    ir::Node* y = call("aten.linear.default",
                       {ir::Arg(flat), ir::Arg(weight({1000, 2048})), ir::Arg(weight({1000}))},
                       type({1, 1000}));
    graph_.output({ir::Arg(y)});
    return std::move(graph_);
  }

 private:
  static ir::TensorType type(std::vector<std::int64_t> sizes) {
    return ir::TensorType::contiguous(ir::DType::kF16, std::move(sizes));
  }
  static ir::Arg ints(const std::vector<std::int64_t>& values) { return ir::Arg::ints(values); }
  ir::Node* weight(std::vector<std::int64_t> sizes) {
    return graph_.get_attr(fmt::format("w{}", weights_++), type(std::move(sizes)),
                           ir::StorageKind::kParameter);
  }
  ir::Node* call(const std::string& target, std::vector<ir::Arg> args, ir::TensorType t) {
    return graph_.call(target, std::move(args), {}, ir::Results::tensor(std::move(t)));
  }
  ir::Node* convolution(ir::Node* x, std::int64_t out, std::int64_t kernel, std::int64_t stride) {
    const auto& s = x->type().sizes;
    ir::Node* w = weight({out, s[1], kernel, kernel});
    return call("aten.conv2d.default",
                {ir::Arg(x), ir::Arg(w), ir::Arg(), ints({stride, stride}),
                 ints({kernel / 2, kernel / 2}), ints({1, 1}), ir::Arg(std::int64_t{1})},
                type({1, out, s[2] / stride, s[3] / stride}));
  }
  ir::Node* norm(ir::Node* x) {
    const std::int64_t c = x->type().sizes[1];
    std::vector<ir::Arg> args{ir::Arg(x)};
    for (int i = 0; i < 4; ++i) args.emplace_back(weight({c}));
    args.emplace_back(false);
    args.emplace_back(0.1);
    args.emplace_back(1e-5);
    args.emplace_back(true);
    return call("aten.batch_norm.default", std::move(args), x->type());
  }
  ir::Node* relu(ir::Node* x) { return call("aten.relu.default", {ir::Arg(x)}, x->type()); }
  ir::Node* pool(ir::Node* x) {
    const auto& s = x->type().sizes;
    const ir::TensorType half = type({1, s[1], s[2] / 2, s[3] / 2});
    ir::TensorType index = half;
    index.dtype = ir::DType::kI64;
    ir::Node* pair =
        graph_.call("aten.max_pool2d_with_indices.default",
                    {ir::Arg(x), ints({3, 3}), ints({2, 2}), ints({1, 1})}, {},
                    ir::Results::list({{half, ir::kNoStorage}, {index, ir::kNoStorage}}));
    return graph_.getitem(pair, 0);
  }
  ir::Node* bottleneck(ir::Node* x, std::int64_t width, std::int64_t stride) {
    ir::Node* y = relu(norm(convolution(x, width, 1, 1)));
    y = relu(norm(convolution(y, width, 3, stride)));
    y = norm(convolution(y, 4 * width, 1, 1));
    if (x->type().sizes[1] != 4 * width) x = norm(convolution(x, 4 * width, 1, stride));
    return relu(call("aten.add.Tensor", {ir::Arg(y), ir::Arg(x)}, y->type()));
  }

  ir::Graph graph_;
  int weights_ = 0;
};

TEST(LibraryModels, ResNet50IsItsConvolutions) {
  const Counts counts = count(ResNet().build());
  EXPECT_EQ(counts.of("convolution"), 53) << counts.text;
  EXPECT_EQ(counts.of("aten"), 1) << counts.text;  // the pool
  // The input turned, the mean, the last layer.
  EXPECT_EQ(counts.of("own"), 3) << counts.text;
  EXPECT_EQ(counts.launches, 57) << counts.text;
}

}  // namespace
}  // namespace monograph::cuda
