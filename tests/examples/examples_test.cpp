// Examples that the documentation quotes between [name] and [/name], each followed by its test.
#include <gtest/gtest.h>
#include <monograph/monograph.h>
#include <torch/torch.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

namespace {

// [quickstart]
struct Mlp : torch::nn::Module {
  torch::nn::Linear up = register_module("up", torch::nn::Linear(64, 256));
  torch::nn::Linear down = register_module("down", torch::nn::Linear(256, 64));

  torch::Tensor forward(const torch::Tensor& x) { return down(torch::relu(up(x))); }
};

torch::Tensor embed(const std::vector<torch::Tensor>& batches) {
  auto mlp = std::make_shared<Mlp>();
  mlp->eval();
  monograph::CompiledModule compiled(monograph::make_module<1>(mlp, {"x"}));

  torch::Tensor sum = torch::zeros({8, 64});
  for (const torch::Tensor& x : batches) {
    sum += compiled({x})[0];  // the first call traces and compiles, later ones replay
  }
  return sum;
}
// [/quickstart]

TEST(Examples, QuickstartReplaysWhatEagerComputes) {
  std::vector<torch::Tensor> batches;
  for (int i = 0; i < 3; ++i) batches.push_back(torch::randn({8, 64}));
  torch::manual_seed(7);  // the weights of the Mlp that embed makes
  const torch::Tensor got = embed(batches);

  torch::manual_seed(7);
  Mlp eager;
  eager.eval();
  torch::InferenceMode guard;
  torch::Tensor expected = torch::zeros({8, 64});
  for (const torch::Tensor& x : batches) expected += eager.forward(x);
  EXPECT_GT(expected.abs().max().item<float>(), 0.0F);
  EXPECT_TRUE(torch::allclose(got, expected, 1e-5, 1e-5))
      << (got - expected).abs().max().item<float>();
}

// [rejected_module]
struct Counter : torch::nn::Module {
  torch::Tensor calls = register_buffer("calls", torch::zeros({1}));

  torch::Tensor forward(const torch::Tensor& x) {
    calls.add_(1);  // a replay would count too, or not, depending on nothing you can see
    return x / calls;
  }
};
// [/rejected_module]

// [rejection]
std::string why_not(const torch::Tensor& x) {
  auto counter = std::make_shared<Counter>();
  const auto result = monograph::Program::trace(monograph::make_module<1>(counter, {"x"}), {x});
  if (const auto* rejection = std::get_if<monograph::Rejection>(&result)) {
    return std::string(monograph::code_name(rejection->code)) + ": " + rejection->subject + ": " +
           rejection->reason + " " + rejection->remedy;
  }
  return std::get<monograph::Program>(result).text();
}
// [/rejection]

TEST(Examples, RejectionIsAValueThatNamesTheBuffer) {
  const std::string reason = why_not(torch::randn({4}));
  EXPECT_EQ(reason.rfind("RejectedMutation: ", 0), 0U) << reason;
  EXPECT_NE(reason.find("calls"), std::string::npos) << reason;
}

// [rejected_error]
std::string call_anyway(const torch::Tensor& x) {
  monograph::CompiledModule compiled(monograph::make_module<1>(std::make_shared<Counter>()));
  try {
    compiled({x});
  } catch (const monograph::RejectedError& error) {
    return error.what();  // error.rejection() has each part by itself
  } catch (const monograph::Error& error) {
    return std::string("fault ") + error.what();
  }
  return "ran";
}
// [/rejected_error]

TEST(Examples, CompiledModuleThrowsTheRejection) {
  const std::string text = call_anyway(torch::randn({4}));
  EXPECT_NE(text.find("RejectedMutation"), std::string::npos) << text;
  EXPECT_NE(text.find("calls"), std::string::npos) << text;
}

// [executable]
torch::Tensor into_own_output(const torch::Tensor& x) {
  auto mlp = std::make_shared<Mlp>();
  mlp->eval();
  monograph::Options options;
  options.backend = "host";
  auto traced = monograph::Program::trace(monograph::make_module<1>(mlp, {"x"}), {x}, options);
  const auto& program = std::get<monograph::Program>(traced);
  auto executable = monograph::Executable::build(program, options);

  std::cout << program.text() << executable.report().to_string();
  std::vector<torch::Tensor> outputs{torch::empty({8, 64})};
  executable.replay({x}, outputs);
  return outputs[0];
}
// [/executable]

TEST(Examples, ExecutableWritesTheCallersOutput) {
  const torch::Tensor x = torch::randn({8, 64});
  torch::manual_seed(11);
  const torch::Tensor got = into_own_output(x);
  torch::manual_seed(11);
  Mlp eager;
  torch::InferenceMode guard;
  EXPECT_TRUE(torch::allclose(got, eager.forward(x), 1e-5, 1e-5));
}

// [dump]
void dump_graphs(const torch::Tensor& x, const std::string& folder) {
  auto mlp = std::make_shared<Mlp>();
  mlp->eval();
  monograph::Options options;
  options.dump_path = folder;  // or MONOGRAPH_DUMP in the environment
  options.name = "mlp";
  monograph::CompiledModule compiled(monograph::make_module<1>(mlp, {"x"}), options);
  compiled({x});
}
// [/dump]

TEST(Examples, DumpHoldsTransformedCode) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::temp_directory_path() / "monograph_examples_dump";
  fs::remove_all(folder);
  dump_graphs(torch::randn({8, 64}), folder.string());
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.path().filename() == "transformed_code.py") found.push_back(entry.path());
  }
  ASSERT_EQ(found.size(), 1U);
  std::stringstream code;
  code << std::ifstream(found[0]).rdbuf();
  EXPECT_NE(code.str().find("relu"), std::string::npos) << code.str();
  fs::remove_all(folder);
}

}  // namespace
