// Program: signature, weights, stages, dumps, text and its errors; the interpreter's own errors.
#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "capture/import/safetensors.h"
#include "capture/ir/text.h"
#include "capture/trace/interpreter.h"
#include "tests/trace/helpers.h"

namespace monograph::test {
namespace {

namespace fs = std::filesystem;
using at::Tensor;
using ::testing::HasSubstr;

/// y = x w^T + (w2 * 2), whose second part is a constant.
Module affine() {
  const Tensor w = at::randn({5, 4});
  const Tensor bias = at::randn({5});
  Module module = function([w, bias](const Tensors& in) {
    return Tensors{at::linear(in[0], w, bias * 2), in[0].t() + 0};
  });
  module.tensors = {{"fc.weight", w, false}, {"fc.scale", bias, true}};
  module.input_names = {"x"};
  return module;
}

template <class Fn>
std::string message_of(Code code, Fn&& fn) {
  try {
    fn();
  } catch (const Error& e) {
    EXPECT_EQ(code_name(e.code()), code_name(code)) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return {};
}

std::string contents(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// A folder that is gone when the test ends.
class Folder {
 public:
  explicit Folder(const std::string& name)
      : path_(fs::path(::testing::TempDir()) / ("monograph_" + name)) {
    fs::remove_all(path_);
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

TEST(ProgramTest, SignatureWeightsAndFigures) {
  const Module module = affine();
  const Program program = trace_or_fail(module, {at::randn({3, 4})});
  ASSERT_EQ(program.inputs().size(), 1U);
  EXPECT_EQ(program.inputs()[0].name, "x");
  EXPECT_EQ(program.inputs()[0].to_string(), "f32[3,4]");
  ASSERT_EQ(program.outputs().size(), 2U);
  EXPECT_EQ(program.outputs()[0].to_string(), "f32[3,5]");
  EXPECT_EQ(program.outputs()[1].sizes, (std::vector<std::int64_t>{4, 3}));
  EXPECT_GT(program.nodes_traced(), 4U);
  EXPECT_GT(program.trace_ms(), 0);
  EXPECT_FALSE(program.passes().empty());
  ASSERT_FALSE(program.stages().empty());
  EXPECT_EQ(program.stages().front().first, "trace");
  EXPECT_EQ(program.stages().back().second, program.text());

  // The doubled bias was computed once; the tensor that it came from isn't held any more.
  ASSERT_EQ(program.weights().size(), 2U);
  EXPECT_THAT(program.weights()[0].name, HasSubstr("_folded_constant"));
  EXPECT_EQ(program.weights()[1].name, "fc.weight");
  EXPECT_EQ(program.weights()[1].tensor.data_ptr(), module.tensors[0].tensor.data_ptr());
}

TEST(ProgramTest, FoldingCanBeSwitchedOffAndLimited) {
  const Module module = affine();
  Options off;
  off.fold_constants = false;
  Options small;
  small.fold_limit_bytes = 8;
  for (const Options& options : {off, small}) {
    const Program program = trace_or_fail(module, {at::randn({3, 4})}, options);
    EXPECT_EQ(count(program.graph(), "aten.mul.Tensor"), 1) << program.text();
    EXPECT_EQ(program.weights()[0].name, "fc.scale");
  }
}

TEST(ProgramTest, WeightsFollowUpdatesInPlaceButNotNewMemory) {
  const Module module = affine();
  Options options;
  options.fold_constants = false;
  const Program program = trace_or_fail(module, {at::randn({3, 4})}, options);
  const Tensor x = at::randn({3, 4});
  module.tensors[0].tensor.fill_(0.5);
  expect_close(trace::interpret(program.graph(), weights_of(program), {x}), eager(module, {x}),
               1e-5);
  const Tensor before = program.weights().back().tensor.clone();
  Tensor weight = module.tensors[0].tensor;
  weight.set_data(at::ones({5, 4}));
  EXPECT_TRUE(program.weights().back().tensor.equal(before));
}

TEST(ProgramTest, TextComesBack) {
  const Program program = trace_or_fail(affine(), {at::randn({3, 4})});
  const Program again = Program::parse(program.text(), program.weights());
  EXPECT_EQ(again.text(), program.text());
  const Tensor x = at::randn({3, 4});
  expect_close(trace::interpret(again.graph(), weights_of(again), {x}),
               trace::interpret(program.graph(), weights_of(program), {x}), 0);
}

TEST(ProgramTest, ParseErrors) {
  EXPECT_THAT(message_of(Code::kInvalidGraph, [] { (void)Program::parse("graph g {\n  %x", {}); }),
              HasSubstr("line 2"));
  const Program program = trace_or_fail(affine(), {at::randn({3, 4})});
  EXPECT_THAT(message_of(Code::kInvalidArgument, [&] { (void)Program::parse(program.text(), {}); }),
              HasSubstr("no weight named"));
  auto weights = program.weights();
  weights[1].tensor = at::randn({4, 5});
  EXPECT_THAT(
      message_of(Code::kInvalidArgument, [&] { (void)Program::parse(program.text(), weights); }),
      HasSubstr("weight 'fc.weight': expected f32[5,4], got f32[4,5]"));
  weights.push_back(weights[0]);
  EXPECT_THAT(
      message_of(Code::kInvalidArgument, [&] { (void)Program::parse(program.text(), weights); }),
      HasSubstr("two weights"));
}

TEST(ProgramTest, UnknownPassIsFoundBeforeForwardRuns) {
  bool ran = false;
  const Module module = function([&ran](const Tensors& in) {
    ran = true;
    return in;
  });
  Options options;
  options.passes = {"dead_code", "make_it_fast"};
  EXPECT_THAT(message_of(Code::kInvalidOption,
                         [&] { (void)Program::trace(module, {at::randn({2})}, options); }),
              HasSubstr("make_it_fast"));
  EXPECT_FALSE(ran);
}

TEST(ProgramTest, PassesFollowTheBackEnd) {
  const Module module = function([](const Tensors& in) { return Tensors{(in[0] + 1).sin() * 2}; });
  const auto text = [&module](const std::string& backend, std::vector<std::string> passes) {
    Options options;
    options.backend = backend;
    options.passes = std::move(passes);
    auto traced = Program::trace(module, {at::randn({2, 3})}, options);
    return std::get<Program>(traced).text();
  };
  EXPECT_THAT(text("cuda", {}), HasSubstr("fusion.add_sin_mul"));
  EXPECT_THAT(text("host", {"fused"}), HasSubstr("fusion.add_sin_mul"));
  for (const std::string& plain :
       {text("host", {}), text("auto", {}), text("cuda", {"dead_code"})}) {
    EXPECT_THAT(plain, ::testing::Not(HasSubstr("fusion.")));
  }
}

TEST(ProgramTest, DumpWritesStagesScriptAndWeights) {
  const Program program = trace_or_fail(affine(), {at::randn({3, 4})});
  const Folder folder("dump");
  ASSERT_TRUE(program.dump((folder.path() / "deep").string()));
  const fs::path deep = folder.path() / "deep";
  EXPECT_EQ(contents(deep / "00_trace.txt"), program.stages()[0].second);
  EXPECT_EQ(contents(deep / "transformed_code.py"), program.python());
  const auto file = importer::SafetensorsFile::open(deep / "weights.safetensors");
  ASSERT_EQ(file.entries().size(), program.weights().size());
  for (const NamedTensor& weight : program.weights()) {
    const auto& entry = file.at(weight.name);
    const Tensor dense = weight.tensor.contiguous();
    ASSERT_EQ(entry.data.size(), dense.nbytes());
    EXPECT_EQ(std::memcmp(entry.data.data(), dense.data_ptr(), dense.nbytes()), 0);
  }
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(deep)) ++files;
  EXPECT_EQ(files, program.stages().size() + 2) << "no drafts are left";

  // Nothing is ever overwritten.
  std::ofstream(deep / "transformed_code.py") << "mine";
  EXPECT_FALSE(program.dump(deep.string()));
  EXPECT_EQ(contents(deep / "transformed_code.py"), "mine");
  std::ofstream(folder.path() / "file") << "x";
  EXPECT_FALSE(program.dump((folder.path() / "file").string()));
}

TEST(InterpreterTest, ErrorsNameTheNode) {
  auto run = [](const std::string& body, const Tensors& inputs) {
    const ir::Graph graph = ir::parse("graph g {\n  %x : f32[3] = placeholder[target=x]\n" + body +
                                      "  return (%y,)\n}\n");
    (void)trace::interpret(graph, {}, inputs);
  };
  const Tensors one{at::randn({3})};
  EXPECT_THAT(message_of(Code::kInvalidGraph,
                         [&] {
                           run("  %y : f32[3] = call_function[target=aten.nonsense.default]"
                               "(args = (%x,), kwargs = {})\n",
                               one);
                         }),
              ::testing::AllOf(HasSubstr("aten.nonsense.default"), HasSubstr("(node %y)")));
  EXPECT_THAT(message_of(Code::kInvalidGraph,
                         [&] {
                           run("  %y : f32[3] = call_function[target=aten.add.Tensor]"
                               "(args = (%x, \"one\"), kwargs = {})\n",
                               one);
                         }),
              ::testing::AllOf(HasSubstr("argument 'other'"), HasSubstr("(node %y)")));
  EXPECT_THAT(message_of(Code::kInvalidGraph,
                         [&] {
                           run("  %y : f32[3] = call_function[target=aten.add.Tensor]"
                               "(args = (%x, %x), kwargs = {beta: 2})\n",
                               one);
                         }),
              HasSubstr("no argument 'beta'"));
  EXPECT_THAT(message_of(Code::kInvalidGraph,
                         [&] {
                           run("  %y : f32[4] = call_function[target=aten.add.Tensor]"
                               "(args = (%x, 1.5), kwargs = {})\n",
                               one);
                         }),
              HasSubstr("expected f32[4], got f32[3]"));
  EXPECT_THAT(message_of(Code::kInvalidGraph,
                         [&] {
                           run("  %y : f32[3] = call_function[target=aten.mm.default]"
                               "(args = (%x, %x), kwargs = {})\n",
                               one);
                         }),
              HasSubstr("aten.mm.default failed"));
  EXPECT_THAT(message_of(Code::kInvalidArgument,
                         [&] {
                           run("  %y : f32[3] = call_function[target=aten.relu.default]"
                               "(args = (%x,), kwargs = {})\n",
                               {});
                         }),
              HasSubstr("takes 1 inputs, got 0"));
}

TEST(InterpreterTest, FusionsRunTheirSubgraph) {
  const ir::Graph graph = ir::parse(R"(graph g {
  %x : f32[3] = placeholder[target=x]
  %w : f32[3] = get_attr[target=w, kind=parameter]
  %f : (f32[3], f32[3]) = call_function[target=fusion.pair](args = (%x, %w), kwargs = {})
  %getitem : f32[3]{alias=%f#1} = call_function[target=operator.getitem](args = (%f, 1), kwargs = {})
  return (%getitem,)
  subgraph pair {
    %a : f32[3] = placeholder[target=a]
    %b : f32[3] = placeholder[target=b]
    %mul : f32[3] = call_function[target=aten.mul.Tensor](args = (%a, %b), kwargs = {})
    %add : f32[3] = call_function[target=aten.add.Tensor](args = (%mul, 1.0), kwargs = {})
    return (%mul, %add)
  }
}
)");
  const Tensor x = at::randn({3});
  const Tensor w = at::randn({3});
  expect_close(trace::interpret(graph, {{"w", w}}, {x}), {x * w + 1}, 0);
}

}  // namespace
}  // namespace monograph::test
