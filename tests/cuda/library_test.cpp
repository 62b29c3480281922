// Products and convolutions by cuBLASLt and cuDNN against double precision: on stand-ins with the
// libraries' entry points on the virtual GPU, on the libraries themselves on a real one.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include <limits>

#include "capture/ir/text.h"
#include "capture/passes/pass.h"
#include "runtime/exec/executable_impl.h"
#include "tests/cuda/virtual_device.h"

namespace monograph::test {
namespace {

using Tensors = std::vector<at::Tensor>;

/// A graph of one chain, whose types are spelt with $t for the dtype.
struct Case {
  std::string name;
  std::string body;  ///< nodes; %y is the result
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> inputs;  ///< placeholders
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> weights;
  /// No library does all of it: in f32 a kernel of ours follows, in halves ours does all.
  bool beyond_libraries = false;
  bool channels_last = false;
};

std::string torch_name(at::ScalarType type) {
  return type == at::kHalf ? "f16" : type == at::kBFloat16 ? "bf16" : "f32";
}

std::string type_text(const std::vector<std::int64_t>& sizes, const std::string& dtype, bool last) {
  std::string s = fmt::format("{}[{}]", dtype, fmt::join(sizes, ","));
  if (last && sizes.size() == 4) {
    s += fmt::format("{{strides=[{},1,{},{}]}}", sizes[1] * sizes[2] * sizes[3],
                     sizes[3] * sizes[1], sizes[1]);
  }
  return s;
}

std::string replaced(std::string s, const std::string& what, const std::string& with) {
  for (std::size_t at = 0; (at = s.find(what, at)) != std::string::npos; at += with.size()) {
    s.replace(at, what.size(), with);
  }
  return s;
}

at::Tensor random(const std::vector<std::int64_t>& sizes, at::ScalarType type, bool last) {
  const at::Tensor t = at::randn(sizes).to(type);
  if (!last || sizes.size() != 4) return t;
  const std::int64_t c = sizes[1], h = sizes[2], w = sizes[3];
  return at::empty_strided(sizes, {c * h * w, 1, w * c, c}, t.options()).copy_(t);
}

class Library : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override { load_client(); }

  /// The graph's text for a dtype; "$cl4[a,b,c,d]" is a type with channels innermost.
  static std::string graph_text(const Case& c, const std::string& dtype) {
    std::string s = "graph " + c.name + " {\n";
    for (const auto& [name, sizes] : c.inputs) {
      s += fmt::format("  %{0} : {1} = placeholder[target={0}]\n", name,
                       type_text(sizes, dtype, c.channels_last));
    }
    for (const auto& [name, sizes] : c.weights) {
      s += fmt::format("  %{0} : {1} = get_attr[target={0}, kind=parameter]\n", name,
                       type_text(sizes, dtype, c.channels_last));
    }
    return s + replaced(c.body, "$t", dtype) + "  return (%y,)\n}\n";
  }

  static Program program(const Case& c, const std::string& dtype,
                         const std::vector<NamedTensor>& weights) {
    ir::Graph graph = ir::parse(graph_text(c, dtype));
    passes::PassContext context;
    passes::run_passes(
        graph,
        {"fuse_attention", "fuse_linear", "fuse_convolution", "fuse_reductions", "fuse_pointwise"},
        context);
    return Program::parse(ir::text(graph), weights);
  }

  /// The same operators in double precision on the host, one by one.
  static Tensors reference(const Case& c, const std::vector<NamedTensor>& weights,
                           const Tensors& inputs) {
    std::vector<NamedTensor> wide;
    const auto widened = [](const at::Tensor& t) {
      return at::empty_strided(t.sizes(), t.strides(), t.options().dtype(at::kDouble)).copy_(t);
    };
    for (const NamedTensor& w : weights) wide.push_back({w.name, widened(w.tensor), false});
    Tensors in;
    for (const at::Tensor& t : inputs) in.push_back(widened(t));
    Options host;
    host.backend = "host";
    std::string text = replaced(graph_text(c, "f64"), "f32[", "f64[");
    text = replaced(text, "torch.float32", "torch.float64");
    return Executable::build(Program::parse(text, wide), host).replay(in);
  }

  void check(const Case& c, Options options = cuda_options()) {
    SCOPED_TRACE(c.name);
    const at::ScalarType type = GetParam();
    std::vector<NamedTensor> weights;
    for (const auto& [name, sizes] : c.weights) {
      // Sums of `k` products of these have a size of about one.
      at::Tensor w = random(sizes, type, c.channels_last);
      if (sizes.size() > 1) w.div_(4);
      weights.push_back({name, w, false});
    }
    Executable device = Executable::build(program(c, torch_name(type), weights), options);
    expect_library(device, c);
    for (int replay = 0; replay < 2; ++replay) {
      Tensors inputs;
      for (const auto& [name, sizes] : c.inputs) {
        inputs.push_back(random(sizes, type, c.channels_last));
      }
      const Tensors want = reference(c, weights, inputs);
      const Tensors got = device.replay(inputs);
      expect_close_on_device(got[0], want[0].to(got[0].scalar_type()), c.name);
    }
  }

  void expect_library(const Executable& device, const Case& c) const {
    const auto& launches = device.impl().planned().lowered.launches;
    std::size_t calls = 0;
    for (const lower::Launch& l : launches) {
      calls += l.kind == lower::LaunchKind::kLibrary ? 1 : 0;
    }
    const bool ours = c.beyond_libraries && GetParam() != at::kFloat;
    const bool apart = c.beyond_libraries && GetParam() == at::kFloat;
    EXPECT_EQ(calls, ours ? 0U : 1U) << device.dump("launches") << device.dump("costs");
    EXPECT_EQ(launches.size(), apart ? 2U : 1U) << device.dump("launches") << device.dump("costs");
    EXPECT_GT(launches.front().cost.bytes, 0);
  }
};

std::string call(const std::string& name, const std::string& type, const std::string& op,
                 const std::string& args, const std::string& kwargs = {}) {
  return fmt::format("  %{} : {} = call_function[target=aten.{}](args = ({}), kwargs = {{{}}})\n",
                     name, type, op, args, kwargs);
}

const std::vector<std::pair<std::string, std::vector<std::int64_t>>> kX{{"x", {24, 40}}};
const std::vector<std::pair<std::string, std::vector<std::int64_t>>> kWeight{{"w", {56, 40}}};
const std::vector<std::pair<std::string, std::vector<std::int64_t>>> kWeightBias{{"w", {56, 40}},
                                                                                 {"b", {56}}};
const std::string kLinear = call("l", "$t[24,56]", "linear.default", "%x, %w, %b");

TEST_P(Library, EpiloguesOfALinearLayer) {
  const std::string y = "$t[24,56]";
  check({"plain", call("y", y, "linear.default", "%x, %w"), kX, kWeight});
  check({"bias", call("y", y, "linear.default", "%x, %w, %b"), kX, kWeightBias});
  check({"relu", kLinear + call("y", y, "relu.default", "%l,"), kX, kWeightBias});
  check({"gelu", kLinear + call("y", y, "gelu.default", "%l,", "approximate: \"tanh\""), kX,
         kWeightBias});
  check({"relu_alone",
         call("l", y, "linear.default", "%x, %w") + call("y", y, "relu.default", "%l,"), kX,
         kWeight});
  check({"factor",
         call("l", y, "linear.default", "%x, %w") + call("y", y, "mul.Tensor", "%l, 0.125"), kX,
         kWeight});
}

TEST_P(Library, SumsAfterALinearLayer) {
  const std::string y = "$t[24,56]";
  auto inputs = kX;
  inputs.push_back({"r", {24, 56}});
  check({"residual", kLinear + call("y", y, "add.Tensor", "%l, %r"), inputs, kWeightBias});
  check({"residual_first", kLinear + call("y", y, "add.Tensor", "%r, %l"), inputs, kWeightBias});
  check(
      {"scaled", kLinear + call("y", y, "add.Tensor", "%l, %r", "alpha: 3"), inputs, kWeightBias});
  check({"difference", kLinear + call("y", y, "sub.Tensor", "%l, %r"), inputs, kWeightBias});
  check({"residual_relu",
         kLinear + call("s", y, "add.Tensor", "%l, %r") + call("y", y, "relu.default", "%s,"),
         inputs, kWeightBias});
  // The sum comes after the activation, so it isn't the library's.
  check({"relu_residual",
         kLinear + call("s", y, "relu.default", "%l,") + call("y", y, "add.Tensor", "%s, %r"),
         inputs, kWeightBias, true});
  auto vector = kWeight;
  vector.push_back({"v", {56}});
  check({"late_bias",
         call("l", y, "linear.default", "%x, %w") + call("y", y, "add.Tensor", "%l, %v"), kX,
         vector});
}

TEST_P(Library, LeavesGeluByErfToAKernelOfOurs) {
  check({"erf", kLinear + call("y", "$t[24,56]", "gelu.default", "%l,"), kX, kWeightBias, true});
}

TEST_P(Library, CastsOfTheResult) {
  if (GetParam() == at::kFloat) {
    SUCCEED();  // no cast to write
  } else {
    check({"cast",
           call("l", "$t[24,56]", "linear.default", "%x, %w") +
               call("y", "f32[24,56]", "_to_copy.default", "%l,", "dtype: torch.float32"),
           kX, kWeight});
  }
}

TEST_P(Library, LayoutsOfALinearLayersInput) {
  check({"batch",
         call("y", "$t[3,8,56]", "linear.default", "%x, %w, %b"),
         {{"x", {3, 8, 40}}},
         kWeightBias});
  // Rows of a wider matrix.
  check({"slice",
         "  %s : $t[24,40]{strides=[64,1], offset=8, alias=%x} = "
         "call_function[target=aten.slice.Tensor](args = (%x, 1, 8, 48), kwargs = {})\n" +
             call("y", "$t[24,56]", "linear.default", "%s, %w, %b"),
         {{"x", {24, 64}}},
         kWeightBias});
  // A matrix by columns, and a weight by rows.
  check({"columns",
         "  %s : $t[24,40]{strides=[1,24], alias=%x} = call_function[target=aten.t.default](args = "
         "(%x,), kwargs = {})\n"
         "  %v : $t[56,40]{strides=[1,56], alias=%w} = call_function[target=aten.t.default](args = "
         "(%w,), kwargs = {})\n" +
             call("y", "$t[24,56]", "linear.default", "%s, %v, %b"),
         {{"x", {40, 24}}},
         {{"w", {40, 56}}, {"b", {56}}}});
  // Every second row of each batch: batches don't merge with rows.
  check({"batch_slice",
         "  %s : $t[3,8,40]{strides=[640,40,1], offset=80, alias=%x} = "
         "call_function[target=aten.slice.Tensor](args = (%x, 1, 2, 10), kwargs = {})\n" +
             call("y", "$t[3,8,56]", "linear.default", "%s, %w, %b"),
         {{"x", {3, 16, 40}}},
         kWeightBias});
}

TEST_P(Library, ProductsOfTwoMatrices) {
  const std::vector<std::pair<std::string, std::vector<std::int64_t>>> ab{{"a", {20, 40}},
                                                                          {"b", {40, 24}}};
  const std::string y = "$t[20,24]";
  check({"mm", call("y", y, "mm.default", "%a, %b"), ab, {}});
  auto with_c = ab;
  with_c.push_back({"c", {20, 24}});
  check({"addmm", call("y", y, "addmm.default", "%c, %a, %b", "beta: 0.5, alpha: 2"), with_c, {}});
  auto with_bias = ab;
  with_bias.push_back({"c", {24}});
  check({"addmm_bias", call("y", y, "addmm.default", "%c, %a, %b"), with_bias, {}});
}

TEST_P(Library, BatchesOfProducts) {
  const std::vector<std::pair<std::string, std::vector<std::int64_t>>> ab{{"a", {5, 20, 16}},
                                                                          {"b", {5, 16, 24}}};
  const std::string y = "$t[5,20,24]";
  check({"bmm", call("y", y, "bmm.default", "%a, %b"), ab, {}});
  check({"bmm_transposed",
         "  %t : $t[5,16,24]{strides=[384,1,16], alias=%b} = "
         "call_function[target=aten.transpose.int](args = (%b, 1, 2), kwargs = {})\n" +
             call("y", y, "bmm.default", "%a, %t"),
         {{"a", {5, 20, 16}}, {"b", {5, 24, 16}}},
         {}});
  auto with_c = ab;
  with_c.push_back({"c", {5, 20, 24}});
  check({"baddbmm",
         call("y", y, "baddbmm.default", "%c, %a, %b", "beta: 2, alpha: 0.5"),
         with_c,
         {}});
  check({"one_for_all",
         call("y", "$t[5,20,24]", "matmul.default", "%a, %b"),
         {{"a", {5, 20, 16}}, {"b", {16, 24}}},
         {}});
  check({"four_dimensions",
         call("y", "$t[2,3,20,24]", "matmul.default", "%a, %b"),
         {{"a", {2, 3, 20, 16}}, {"b", {2, 3, 16, 24}}},
         {}});
  // Heads side by side in memory, as projections leave them.
  check({"heads",
         "  %p : $t[3,20,16]{strides=[16,48,1], alias=%a} = "
         "call_function[target=aten.permute.default](args = (%a, [1, 0, 2]), kwargs = {})\n"
         "  %q : $t[3,16,24]{strides=[16,1,48], alias=%b} = "
         "call_function[target=aten.permute.default](args = (%b, [1, 2, 0]), kwargs = {})\n" +
             call("y", "$t[3,20,24]", "bmm.default", "%p, %q"),
         {{"a", {20, 3, 16}}, {"b", {24, 3, 16}}},
         {}});
}

TEST_P(Library, ActivationsKeepNaN) {
  const std::string y = "$t[24,56]";
  for (const std::string& op : {call("y", y, "relu.default", "%l,"),
                                call("y", y, "gelu.default", "%l,", "approximate: \"tanh\"")}) {
    const Case c{"nan", kLinear + op, kX, kWeightBias};
    const std::vector<NamedTensor> weights{{"w", random({56, 40}, GetParam(), false), false},
                                           {"b", random({56}, GetParam(), false), false}};
    Executable device =
        Executable::build(program(c, torch_name(GetParam()), weights), cuda_options());
    at::Tensor x = random({24, 40}, GetParam(), false);
    x[3].fill_(std::numeric_limits<double>::quiet_NaN());
    const at::Tensor got = device.replay({x})[0];
    const at::Tensor want = reference(c, weights, {x})[0];
    EXPECT_EQ(want.isnan().sum().item<std::int64_t>(), 56);
    EXPECT_TRUE(got.isnan().equal(want.isnan()))
        << op << got.isnan().sum().item<std::int64_t>() << " elements are NaN";
  }
}

TEST_P(Library, AttentionWithItsResultInAnotherOrder) {
  // In f32, which our kernel runs, few tokens; in halves as many as LibTorch's does better with.
  const std::int64_t n = GetParam() == at::kFloat ? 9 : 768;
  const std::vector<std::int64_t> sizes{2, 12, n, 32};
  const std::string heads = type_text(sizes, "$t", false);
  const std::string turned = fmt::format("$t[2,{},12,32]", n);
  const std::string view = fmt::format(
      "  %p : {}{{strides=[{},32,{},1], alias=%a}} = call_function[target=aten.transpose.int]"
      "(args = (%a, 1, 2), kwargs = {{}})\n",
      turned, 12 * n * 32, n * 32);
  const Case c{
      "attention",
      call("a", heads, "scaled_dot_product_attention.default", "%q, %k, %v") + view +
          call("y", turned, "clone.default", "%p,", "memory_format: torch.contiguous_format"),
      {{"q", sizes}, {"k", sizes}, {"v", sizes}},
      {}};
  Executable device = Executable::build(program(c, torch_name(GetParam()), {}), cuda_options());
  const auto& launches = device.impl().planned().lowered.launches;
  ASSERT_EQ(launches.size(), 1u) << device.dump("launches") << device.dump("costs");
  const bool flash = launches[0].implementation == "flash_attention";
  EXPECT_EQ(flash, GetParam() != at::kFloat) << device.dump("launches");
  for (int replay = 0; replay < 2; ++replay) {
    Tensors inputs;
    for (std::size_t i = 0; i < c.inputs.size(); ++i) {
      inputs.push_back(random(sizes, GetParam(), false));
    }
    const Tensors want = reference(c, {}, inputs);
    const Tensors got = device.replay(inputs);
    expect_close_on_device(got[0], want[0].to(got[0].scalar_type()), c.name);
  }
}

TEST_P(Library, TakesAWayByTiming) {
  Options options = cuda_options();
  options.backend_options["cuda.tuning"] = "on";
  check({"tuned", kLinear + call("y", "$t[24,56]", "relu.default", "%l,"), kX, kWeightBias},
        options);
}

/// A convolution of x by w to `sizes`, spelt with channels innermost or not.
Case convolution(const std::string& name, const std::vector<std::int64_t>& x,
                 const std::vector<std::int64_t>& w, const std::vector<std::int64_t>& y,
                 const std::string& options, const std::string& ops, bool last) {
  const std::string type = type_text(y, "$t", last);
  const bool bias = ops.find('b') != std::string::npos;
  const bool sum = ops.find('+') != std::string::npos;
  const bool relu = ops.find('r') != std::string::npos;
  std::string value = sum || relu ? "c" : "y";
  std::string body = call(value, type, "conv2d.default",
                          std::string("%x, %w, ") + (bias ? "%b" : "None") + options);
  if (sum) {
    body += call(relu ? "s" : "y", type, "add.Tensor", "%c, %z");
    value = "s";
  }
  if (relu) body += call("y", type, "relu.default", "%" + value + ",");
  Case c{name + (last ? "_last" : "_rows"), body, {{"x", x}}, {{"w", w}}, false, last};
  if (bias) c.weights.push_back({"b", {w[0]}});
  if (sum) c.inputs.push_back({"z", y});
  return c;
}

TEST_P(Library, Convolutions) {
  for (const bool last : {false, true}) {
    const std::string pad = ", [1, 1], [1, 1], [1, 1], 1";
    for (const char* ops : {"", "b", "r", "br", "b+", "b+r"}) {
      check(convolution("same", {2, 8, 7, 5}, {16, 8, 3, 3}, {2, 16, 7, 5}, pad, ops, last));
    }
    check(convolution("stride", {1, 3, 15, 15}, {8, 3, 7, 7}, {1, 8, 8, 8},
                      ", [2, 2], [3, 3], [1, 1], 1", "br", last));
    check(convolution("pixel", {2, 16, 6, 6}, {8, 16, 1, 1}, {2, 8, 6, 6},
                      ", [1, 1], [0, 0], [1, 1], 1", "b+r", last));
    check(convolution("groups", {1, 8, 9, 9}, {8, 2, 3, 3}, {1, 8, 5, 5},
                      ", [2, 2], [1, 1], [1, 1], 4", "br", last));
    check(convolution("dilated", {1, 4, 11, 11}, {8, 4, 3, 3}, {1, 8, 7, 7},
                      ", [1, 1], [0, 0], [2, 2], 1", "b", last));
  }
}

TEST(LibraryOptions, RefusesUnknownSettings) {
  load_client();
  Options options = cuda_options();
  const Program p = Program::parse(
      "graph g {\n  %x : f32[8] = placeholder[target=x]\n  %y : f32[8] = "
      "call_function[target=aten.neg.default](args = (%x,), kwargs = {})\n  return (%y,)\n}",
      {});
  for (const std::string name : {"cuda.tuning", "cuda.gate"}) {
    for (const std::string value : {"maybe", "", "ON"}) {
      Options wrong = options;
      wrong.backend_options[name] = value;
      try {
        Executable::build(p, wrong);
        ADD_FAILURE() << name << " = '" << value << "' was taken";
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), Code::kInvalidOption);
        EXPECT_NE(
            std::string(e.what()).find("'" + name + "' is '" + value + "', but may be: on, off"),
            std::string::npos)
            << e.what();
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, Library, testing::Values(at::kFloat, at::kHalf, at::kBFloat16),
                         [](const auto& type) { return torch_name(type.param); });

}  // namespace
}  // namespace monograph::test
