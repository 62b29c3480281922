// The CUDA back end against the host back end, on the virtual GPU or, with MONOGRAPH_TEST_DRIVER
// empty, on a real one: the same programs, weights and inputs on both.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include "tests/cuda/virtual_device.h"

namespace monograph::test {
namespace {

struct Case {
  std::string name;
  std::string text;
  std::vector<NamedTensor> weights;
  std::vector<at::Tensor> inputs;
};

class CudaBackend : public testing::TestWithParam<GraphMode> {
 protected:
  void check(const Case& c) {
    const Program program = Program::parse(c.text, c.weights);
    Options host;
    host.backend = "host";
    Executable reference = Executable::build(program, host);
    for (const std::uint64_t s : {0, 1, 2, 3}) {
      seed(s);
      Executable device = Executable::build(program, cuda_options(GetParam()));
      std::vector<at::Tensor> inputs = c.inputs;
      for (int replay = 0; replay < 3; ++replay) {
        const auto want = reference.replay(inputs);
        const auto got = device.replay(inputs);
        ASSERT_EQ(got.size(), want.size());
        for (std::size_t i = 0; i < got.size(); ++i) {
          expect_close_on_device(got[i], want[i], c.name + " output " + std::to_string(i));
        }
        inputs = fresh_like(inputs);
      }
    }
  }
};

TEST_P(CudaBackend, RunsPointwiseChainsOnOurKernels) {
  check({"chain",
         R"(graph chain {
  %x : f32[3,111] = placeholder[target=x]
  %y : f32[111] = placeholder[target=y]
  %add : f32[3,111] = call_function[target=aten.add.Tensor](args = (%x, %y), kwargs = {alpha: 2})
  %mul : f32[3,111] = call_function[target=aten.mul.Tensor](args = (%add, %add), kwargs = {})
  %gelu : f32[3,111] = call_function[target=aten.gelu.default](args = (%mul,), kwargs = {})
  %rsub : f32[3,111] = call_function[target=aten.rsub.Tensor](args = (%gelu, %y), kwargs = {alpha: 3})
  return (%gelu, %rsub)
})",
         {},
         {at::randn({3, 111}), at::randn({111})}});
}

TEST_P(CudaBackend, RunsLibraryCallsBetweenKernels) {
  const at::Tensor w = at::randn({32, 64});
  const at::Tensor b = at::randn({32});
  check({"linear",
         R"(graph linear {
  %x : f32[4,64] = placeholder[target=x]
  %w : f32[32,64] = get_attr[target=w, kind=parameter]
  %b : f32[32] = get_attr[target=b, kind=parameter]
  %relu : f32[4,64] = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
  %linear : f32[4,32] = call_function[target=aten.linear.default](args = (%relu, %w, %b), kwargs = {})
  %softmax : f32[4,32] = call_function[target=aten._softmax.default](args = (%linear, -1, False), kwargs = {})
  %neg : f32[4,32] = call_function[target=aten.neg.default](args = (%softmax,), kwargs = {})
  return (%softmax, %neg)
})",
         {{"w", w, false}, {"b", b, false}},
         {at::randn({4, 64})}});
}

TEST_P(CudaBackend, KeepsViewsAndInPlaceWritesInOrder) {
  check({"views",
         R"(graph views {
  %x : f32[6,8] = placeholder[target=x]
  %exp : f32[6,8] = call_function[target=aten.exp.default](args = (%x,), kwargs = {})
  %t : f32[8,6]{strides=[1,8], alias=%exp} = call_function[target=aten.t.default](args = (%exp,), kwargs = {})
  %neg : f32[8,6] = call_function[target=aten.neg.default](args = (%t,), kwargs = {})
  %add_ : f32[6,8]{alias=%exp} = call_function[target=aten.add_.Tensor, writes=(%exp,)](args = (%exp, %x), kwargs = {})
  %clone : f32[8,6] = call_function[target=aten.clone.default](args = (%t,), kwargs = {memory_format: torch.contiguous_format})
  %sub : f32[8,6] = call_function[target=aten.sub.Tensor](args = (%clone, %neg), kwargs = {})
  return (%sub, %neg)
})",
         {},
         {at::randn({6, 8})}});
}

TEST_P(CudaBackend, WritesInPlaceToNothingAreNoLaunches) {
  const char* const text = R"(graph nothing {
  %x : i64[0,3] = placeholder[target=x]
  %y : i64[0,3] = placeholder[target=y]
  %z : f32[4] = placeholder[target=z]
  %ne : bool[0,3] = call_function[target=aten.ne.Tensor](args = (%x, %y), kwargs = {})
  %eq : bool[0,3] = call_function[target=aten.eq.Tensor](args = (%x, %y), kwargs = {})
  %and : bool[0,3]{alias=%ne} = call_function[target=aten.bitwise_and_.Tensor, writes=(%ne,)](args = (%ne, %eq), kwargs = {})
  %all : bool[] = call_function[target=aten.all.default](args = (%and,), kwargs = {})
  %neg : f32[4] = call_function[target=aten.neg.default](args = (%z,), kwargs = {})
  return (%and, %all, %neg)
})";
  const std::vector<at::Tensor> inputs{at::zeros({0, 3}, at::kLong), at::ones({0, 3}, at::kLong),
                                       at::randn({4})};
  check({"nothing", text, {}, inputs});
  if (GetParam() != GraphMode::kFull) return;
  const Executable e = Executable::build(Program::parse(text, {}), cuda_options(GetParam()));
  // LibTorch enqueues nothing there, which would be taken for work that went elsewhere.
  EXPECT_THAT(e.dump("device"), testing::HasSubstr("1 kernels, 1 library calls"));
}

/// Counts that don't add up to the size of the result are a fault on a device.
TEST_P(CudaBackend, WarmsUpOnTheIntegersOfTheTrace) {
  Module module;
  module.forward = [](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
    return {at::repeat_interleave(in[0], in[1], 0, 6).neg()};
  };
  const auto inputs = [] {
    return std::vector<at::Tensor>{at::randn({3, 4}), at::randperm(3, at::kLong) + 1};
  };
  const auto traced = Program::trace(module, inputs(), cuda_options(GetParam()));
  ASSERT_TRUE(std::holds_alternative<Program>(traced));
  const auto& program = std::get<Program>(traced);
  for (const Program& p : {program, Program::parse(program.text(), {}, inputs())}) {
    Executable e = Executable::build(p, cuda_options(GetParam()));
    for (int replay = 0; replay < 3; ++replay) {
      const auto in = inputs();
      expect_close_on_device(e.replay(in)[0], -at::repeat_interleave(in[0], in[1], 0, 6),
                             "repeated");
    }
  }
}

/// LibTorch's libraries share a workspace.
TEST_P(CudaBackend, CallsOfLibTorchFollowEachOther) {
  const Program program = Program::parse(
      R"(graph two {
  %x : f32[8,8] = placeholder[target=x]
  %y : f32[8,8] = placeholder[target=y]
  %a : f32[8,8] = call_function[target=aten.cumsum.default](args = (%x, 0), kwargs = {})
  %b : f32[8,8] = call_function[target=aten.cumsum.default](args = (%y, 1), kwargs = {})
  return (%a, %b)
})",
      {});
  const Executable e = Executable::build(program, cuda_options(GetParam()));
  if (GetParam() != GraphMode::kFull) return;
  EXPECT_THAT(e.dump("graph_nodes"), testing::HasSubstr("edge 0 -> 1\n"));
}

TEST_P(CudaBackend, WhatWaitsInsideCuSolverRunsOnAStreamOnly) {
  const Program program = Program::parse(
      R"(graph values {
  %x : f32[3,3] = placeholder[target=x]
  %svd : (f32[3,3], f32[3], f32[3,3]) = call_function[target=aten._linalg_svd.default](args = (%x, False, True, None), kwargs = {})
  %s : f32[3]{alias=%svd#1} = call_function[target=operator.getitem](args = (%svd, 1), kwargs = {})
  return (%s,)
})",
      {});
  if (GetParam() == GraphMode::kNone) {
    Executable e = Executable::build(program, cuda_options(GetParam()));
    const at::Tensor x = at::randn({3, 3});
    expect_close_on_device(e.replay({x})[0], std::get<1>(at::svd(x)), "singular values");
    return;
  }
  try {
    Executable::build(program, cuda_options(GetParam()));
    ADD_FAILURE() << "a graph was built";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kDeviceCaptureFailed);
    EXPECT_EQ(e.node(), "svd");
    EXPECT_THAT(e.what(), testing::HasSubstr("aten::_linalg_svd waits for the device"));
  }
}

TEST_P(CudaBackend, OperatorsThatWriteIntoTheirListsSeeTheNextIndices) {
  const Program program = Program::parse(
      R"(graph masked {
  %x : f32[5] = placeholder[target=x]
  %mask : bool[4] = placeholder[target=mask]
  %i : i64[4] = placeholder[target=i]
  %y : f32[4] = call_function[target=aten._unsafe_masked_index.default](args = (%x, %mask, [%i], -1.5), kwargs = {})
  return (%y,)
})",
      {});
  Executable e = Executable::build(program, cuda_options(GetParam()));
  for (int replay = 0; replay < 3; ++replay) {
    const at::Tensor x = at::randn({5});
    const at::Tensor i = at::randperm(5, at::kLong).slice(0, 0, 4).contiguous();
    const at::Tensor mask = at::arange(4) != 2;
    expect_close_on_device(e.replay({x, mask, i})[0], at::where(mask, x.index_select(0, i), -1.5),
                           "masked");
  }
}

TEST_P(CudaBackend, TakesHalvesIntegersAndComparisons) {
  check({"dtypes",
         R"(graph dtypes {
  %x : bf16[5,16] = placeholder[target=x]
  %i : i64[5,1] = placeholder[target=i]
  %f : bf16[5,16] = call_function[target=aten.mul.Tensor](args = (%x, 0.5), kwargs = {})
  %silu : bf16[5,16] = call_function[target=aten.silu.default](args = (%f,), kwargs = {})
  %j : i64[5,1] = call_function[target=aten.add.Tensor](args = (%i, 3), kwargs = {})
  %gt : bool[5,16] = call_function[target=aten.gt.Tensor](args = (%x, %silu), kwargs = {})
  return (%silu, %j, %gt)
})",
         {},
         {at::randn({5, 16}).to(at::kBFloat16), at::randint(0, 9, {5, 1}, at::kLong)}});
}

TEST_P(CudaBackend, ShowsItsNodes) {
  const Program program = Program::parse(
      R"(graph one {
  %x : f32[8] = placeholder[target=x]
  %neg : f32[8] = call_function[target=aten.neg.default](args = (%x,), kwargs = {})
  return (%neg,)
})",
      {});
  const Executable e = Executable::build(program, cuda_options(GraphMode::kFull));
  EXPECT_NE(e.dump("graph_nodes").find("kernel mg_neg"), std::string::npos)
      << e.dump("graph_nodes");
  EXPECT_EQ(e.report().backend, "cuda");
}

TEST_P(CudaBackend, RefusesWhatAReplayWouldGetWrong) {
  for (const auto& [op, type] : std::vector<std::pair<std::string, std::string>>{
           {"aten.rand_like.default", "f32[8]"}, {"aten.bernoulli.default", "f32[8]"}}) {
    const Program program = Program::parse(
        "graph one {\n  %x : f32[8] = placeholder[target=x]\n  %r : " + type +
            " = call_function[target=" + op + "](args = (%x,), kwargs = {})\n  return (%r,)\n}",
        {});
    try {
      Executable::build(program, cuda_options(GetParam()));
      ADD_FAILURE() << op << " was built";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kRejectedUnsupportedOp);
      EXPECT_NE(std::string(e.what()).find(op + " draws random numbers"), std::string::npos)
          << e.what();
      EXPECT_EQ(e.node(), "r");
    }
  }
}

TEST_P(CudaBackend, TakesItsArenaFromLibTorchsAllocatorIfToldTo) {
  Module module;
  module.forward = [](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
    return {at::softmax(in[0].exp().neg(), -1).sin()};
  };
  Options options = cuda_options(GetParam());
  options.backend_options["cuda.arena"] = "torch";
  CompiledModule compiled(module, options);
  // The second shape needs more than the first has.
  for (const std::int64_t rows : {3, 70, 3, 70, 1}) {
    const at::Tensor x = at::randn({rows, 111});
    const c10::InferenceMode mode;
    expect_close_on_device(compiled({x})[0], at::softmax(x.exp().neg(), -1).sin(), "rows");
  }
  options.backend_options["cuda.arena"] = "mine";
  try {
    CompiledModule wrong(module, options);
    (void)wrong({at::randn({2, 3})});
    ADD_FAILURE() << "an unknown arena was taken";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kInvalidOption);
    EXPECT_NE(std::string(e.what()).find("'reserved' or 'torch', not 'mine'"), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, CudaBackend, testing::Values(GraphMode::kFull, GraphMode::kNone),
                         [](const auto& mode) {
                           return mode.param == GraphMode::kFull ? "graph" : "stream";
                         });

}  // namespace
}  // namespace monograph::test
