// Executable: what it refuses and in which words, that refusals change nothing, reports and dumps.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "tests/host/support.h"

namespace monograph::test {
namespace {

using testing::HasSubstr;

template <class Fn>
Error caught(Fn&& fn) {
  try {
    fn();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(Code::kInternal, "nothing was thrown");
}

/// y = relu(x + b) and s = sum(x), from text: no trace involved.
constexpr const char* kText = R"(graph two {
  %x : f32[2,3] = placeholder[target=x]
  %n : i64[3] = placeholder[target=n]
  %b : f32[3] = get_attr[target=fc.bias, kind=parameter]
  %add : f32[2,3] = call_function[target=aten.add.Tensor](args = (%x, %b), kwargs = {})
  %relu : f32[2,3] = call_function[target=aten.relu.default](args = (%add,), kwargs = {})
  %mul : f32[2,3] = call_function[target=aten.mul.Tensor](args = (%relu, %n), kwargs = {})
  %sum : f32[] = call_function[target=aten.sum.default](args = (%x,), kwargs = {})
  return (%mul, %sum)
})";

class ExecutableTest : public testing::Test {
 protected:
  void SetUp() override { at::manual_seed(3); }
  Tensors inputs() const { return {at::randn({2, 3}), at::randint(1, 9, {3}, at::kLong)}; }
  Tensors expected(const Tensors& in) const {
    return {at::relu(in[0] + bias_) * in[1], in[0].sum()};
  }
  void expect_refused(const Tensors& bad, const std::string& words,
                      Code code = Code::kInvalidArgument) {
    Tensors out = {at::full({2, 3}, 5.0), at::full({}, 5.0)};
    const Error error = caught([&] { executable_.replay(bad, out); });
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(words));
    EXPECT_TRUE(out[0].eq(5).all().item<bool>()) << "a refused replay wrote its output";
    const Error again = caught([&] { executable_.replay(bad); });
    EXPECT_STREQ(again.what(), error.what());
    still_works();
  }
  void expect_outputs_refused(Tensors out, const std::string& words) {
    const Error error = caught([&] { executable_.replay(inputs(), out); });
    EXPECT_EQ(error.code(), Code::kInvalidArgument) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(words));
    still_works();
  }
  void still_works() {
    const Tensors in = inputs();
    const Tensors got = executable_.replay(in);
    const Tensors want = expected(in);
    expect_close(got[0], want[0], 1e-6, "after a refusal");
    expect_close(got[1], want[1], 1e-5, "after a refusal");
  }

  at::Tensor bias_ = at::randn({3});
  Executable executable_ =
      build_host(Program::parse(kText, {{"fc.bias", bias_, /*is_buffer=*/false}}));
};

TEST_F(ExecutableTest, ReplaysFromText) {
  for (int i = 0; i < 3; ++i) still_works();
}

TEST_F(ExecutableTest, OutputsAreFreshAndTheCallersOwn) {
  const Tensors in = inputs();
  const Tensors first = executable_.replay(in);
  const at::Tensor kept = first[0].clone();
  const Tensors second = executable_.replay(inputs());
  EXPECT_NE(first[0].const_data_ptr(), second[0].const_data_ptr());
  EXPECT_TRUE(at::equal(first[0], kept)) << "a later replay changed an earlier result";
  EXPECT_FALSE(first[0].requires_grad());
  EXPECT_FALSE(first[0].is_inference()) << "made outside InferenceMode, so usable outside";
}

TEST_F(ExecutableTest, RefusesWrongCount) {
  expect_refused({at::randn({2, 3})}, "expected 2 inputs, got 1");
  expect_refused({}, "expected 2 inputs, got 0: the signature is (x: f32[2,3] on cpu, n: i64[3]");
}

TEST_F(ExecutableTest, RefusesUndefined) {
  expect_refused({at::randn({2, 3}), at::Tensor()},
                 "input 1 ('n'): expected i64[3] on cpu, got an undefined tensor");
}

TEST_F(ExecutableTest, RefusesWrongRankSizesAndDtype) {
  const at::Tensor n = at::ones({3}, at::kLong);
  expect_refused({at::randn({2, 3, 1}), n},
                 "input 0 ('x'): expected f32[2,3] on cpu, got f32[2,3,1] on cpu (rank differs)");
  expect_refused({at::randn({3, 2}), n}, "got f32[3,2] on cpu (sizes differ)");
  expect_refused({at::randn({0, 3}), n}, "got f32[0,3] on cpu (sizes differ)");
  expect_refused({at::randn({2, 3}).to(at::kDouble), n}, "got f64[2,3] on cpu (dtype differs)");
  expect_refused({at::randn({2, 3}), at::ones({3}, at::kInt)}, "input 1 ('n')");
}

TEST_F(ExecutableTest, RefusesWrongStrides) {
  expect_refused({at::randn({3, 2}).t(), at::ones({3}, at::kLong)},
                 "got f32[2,3]{strides=[1,2]} on cpu (strides differ)");
}

TEST_F(ExecutableTest, RefusesWrongDeviceLayoutAndViews) {
  const at::Tensor n = at::ones({3}, at::kLong);
  expect_refused({at::empty({2, 3}, at::TensorOptions(at::kMeta)), n}, "on meta (device differs)");
  expect_refused({at::eye(3).slice(0, 0, 2).to_sparse(), n}, "layout Sparse (layout differs)");
  const at::Tensor z = at::randn({2, 3}, at::kComplexFloat);
  expect_refused({at::_neg_view(at::randn({2, 3})), n}, "lazily conjugated, negated or wrapped");
  expect_refused({at::imag(at::conj(z)), n}, "expected f32[2,3]");
}

TEST_F(ExecutableTest, RefusesGradOnlyWhereItMatters) {
  const at::Tensor x = at::randn({2, 3}).requires_grad_();
  const at::Tensor n = at::ones({3}, at::kLong);
  expect_refused({x, n}, "a tensor that requires grad");
  const c10::NoGradGuard no_grad;
  expect_close(executable_.replay({x, n})[0], expected({x, n})[0], 1e-6, "without grad mode");
}

TEST_F(ExecutableTest, RefusesStorageThatIsTooSmall) {
  at::Tensor x = at::randn({2, 3});
  x.storage().unsafeGetStorageImpl()->set_nbytes(8);
  expect_refused({x, at::ones({3}, at::kLong)}, "holds only 8 bytes of the 24");
}

TEST_F(ExecutableTest, StridesOfSizeOneDimensionsDontMatter) {
  const Forward forward = [](const Tensors& in) -> Tensors { return {in[0] * 2}; };
  Executable executable = build_host(trace_program(forward, {at::randn({4, 1})}));
  const at::Tensor x = at::randn({4}).as_strided({4, 1}, {1, 77});
  expect_close(executable.replay({x})[0], x * 2, 0, "odd stride of a size-1 dimension");
}

TEST_F(ExecutableTest, InputsInAnyPlaceOfAStorage) {
  const at::Tensor n = at::tensor({1, 2, 3}, at::kLong);
  const at::Tensor x = at::randn({20}).slice(0, 7, 13).view({2, 3});
  expect_close(executable_.replay({x, n})[0], expected({x, n})[0], 1e-6, "offset input");
}

TEST_F(ExecutableTest, RefusesUnusableOutputs) {
  expect_outputs_refused({}, "expected 2 outputs, got 0");
  expect_outputs_refused({at::empty({2, 3}), at::Tensor()}, "output 1");
  expect_outputs_refused({at::empty({3, 2}), at::empty({})}, "(sizes differ)");
  expect_outputs_refused({at::empty({3, 2}).t(), at::empty({})}, "(strides differ)");
  expect_outputs_refused({at::empty({2, 3}, at::kDouble), at::empty({})}, "(dtype differs)");
  expect_outputs_refused({at::empty({2, 3}).requires_grad_(), at::empty({})}, "requires grad");
}

TEST_F(ExecutableTest, RefusesOutputsThatOverlap) {
  const Tensors in = inputs();
  Tensors out = {in[0], at::empty({})};
  Error error = caught([&] { executable_.replay(in, out); });
  EXPECT_THAT(error.what(), HasSubstr("output 0"));
  EXPECT_THAT(error.what(), HasSubstr("overlaps input 0 ('x')"));

  const at::Tensor both = at::empty({7});
  expect_outputs_refused({both.slice(0, 0, 6).view({2, 3}), both.select(0, 5)},
                         "overlaps output 0");
  expect_outputs_refused({at::empty({2, 3}), bias_.select(0, 1)}, "overlaps a weight");
  Tensors neighbours = {both.slice(0, 0, 6).view({2, 3}), both.select(0, 6)};
  executable_.replay(in, neighbours);
  expect_close(neighbours[0], expected(in)[0], 1e-6, "neighbours in one storage are fine");
}

TEST_F(ExecutableTest, WritingAnOutputBumpsItsVersion) {
  Tensors out = {at::empty({2, 3}), at::empty({})};
  const auto before = out[0]._version();
  executable_.replay(inputs(), out);
  EXPECT_GT(out[0]._version(), before);
}

TEST_F(ExecutableTest, WeightsAreReadInPlace) {
  bias_.fill_(2);
  still_works();
  bias_.storage().unsafeGetStorageImpl()->set_data_ptr_noswap(
      at::DataPtr(at::zeros({3}).mutable_data_ptr(), at::kCPU));
  const Error error = caught([&] { executable_.replay(inputs()); });
  EXPECT_EQ(error.code(), Code::kInvalidState);
  EXPECT_THAT(error.what(), HasSubstr("weight 'fc.bias' lies in other memory"));
}

TEST_F(ExecutableTest, KernelErrorsNameTheNodeAndLeaveItUsable) {
  const Forward forward = [](const Tensors& in) -> Tensors {
    return {at::index_select(in[0], 0, in[1])};
  };
  Executable executable =
      build_host(trace_program(forward, {at::randn({4, 2}), at::tensor({1, 2}, at::kLong)}));
  const at::Tensor x = at::randn({4, 2});
  const Error error = caught([&] { executable.replay({x, at::tensor({1, 9}, at::kLong)}); });
  EXPECT_EQ(error.code(), Code::kInvalidArgument);
  EXPECT_EQ(error.node(), "index_select");
  EXPECT_THAT(error.driver_text(), HasSubstr("out of range"));
  const at::Tensor good = at::tensor({3, 0}, at::kLong);
  expect_close(executable.replay({x, good})[0], x.index_select(0, good), 0, "after the error");
}

TEST_F(ExecutableTest, ResultsWhoseShapeDependsOnDataAreRefused) {
  const char* text = R"(graph data {
    %x : i64[4] = placeholder[target=x]
    %nonzero : i64[2,1] = call_function[target=aten.nonzero.default](args = (%x,), kwargs = {})
    return (%nonzero,)
  })";
  Executable executable = build_host(Program::parse(text, {}));
  expect_close(executable.replay({at::tensor({0, 5, 0, 7}, at::kLong)})[0],
               at::tensor({1, 3}, at::kLong).view({2, 1}), 0, "as captured");
  const Error error = caught([&] { executable.replay({at::tensor({1, 5, 0, 7}, at::kLong)}); });
  EXPECT_EQ(error.node(), "nonzero");
}

TEST_F(ExecutableTest, ViewsBeyondAnInputAreRefused) {
  const char* text = R"(graph beyond {
    %x : f32[3]{offset=2, bytes=64} = placeholder[target=x]
    %view : f32[8]{alias=%x} = call_function[target=aten.as_strided.default](args = (%x, [8], [1], 0), kwargs = {})
    %y : f32[8] = call_function[target=aten.relu.default](args = (%view,), kwargs = {})
    return (%y,)
  })";
  const Error error = caught([&] { (void)build_host(Program::parse(text, {})); });
  EXPECT_EQ(error.code(), Code::kInvalidGraph);
  EXPECT_EQ(error.node(), "view");
  EXPECT_THAT(error.what(), HasSubstr("looks beyond input 'x'"));
}

TEST_F(ExecutableTest, TheHostRunsCpuTensorsOnly) {
  const char* text = R"(graph elsewhere {
    %x : f32[3]{device=meta} = placeholder[target=x]
    %y : f32[3]{device=meta} = call_function[target=aten.relu.default](args = (%x,), kwargs = {})
    return (%y,)
  })";
  const Error error = caught([&] { (void)build_host(Program::parse(text, {})); });
  EXPECT_EQ(error.code(), Code::kInvalidOption);
  EXPECT_THAT(error.what(), HasSubstr("back end 'host' runs tensors on cpu"));
}

TEST_F(ExecutableTest, ReportSaysWhatItCosts) {
  const Report& report = executable_.report();
  EXPECT_EQ(report.backend, "host");
  EXPECT_EQ(report.launches, 4U);
  EXPECT_EQ(report.nodes_final, 8U);
  EXPECT_GE(report.arena_bytes, report.arena_lower_bound);
  EXPECT_GT(report.arena_lower_bound, 0);
  EXPECT_EQ(report.weight_bytes, 12);
  EXPECT_TRUE(report.allocating_launches.empty());
  EXPECT_THAT(report.to_string(), HasSubstr("arena bytes"));
}

TEST_F(ExecutableTest, ReportListsLaunchesThatAllocate) {
  const Forward forward = [](const Tensors& in) -> Tensors {
    return {at::nuclear_norm(in[0]), at::relu(in[0])};
  };
  const Executable executable = build_host(trace_program(forward, {at::randn({3, 3})}));
  EXPECT_FALSE(executable.report().allocating_launches.empty());
  for (const std::string& launch : executable.report().allocating_launches) {
    EXPECT_THAT(launch, HasSubstr("(aten."));
    EXPECT_THAT(launch, testing::Not(HasSubstr("relu")));
  }
}

TEST_F(ExecutableTest, DumpsStages) {
  EXPECT_EQ(executable_.dump("graph"), executable_.program().text());
  EXPECT_THAT(executable_.dump("launches"), HasSubstr("relu"));
  EXPECT_THAT(executable_.dump("plan"), HasSubstr("mul"));
  const Error error = caught([&] { (void)executable_.dump("nonsense"); });
  EXPECT_EQ(error.code(), Code::kInvalidOption);
  EXPECT_THAT(error.what(),
              HasSubstr("unknown dump stage 'nonsense'; there are: graph, launches, plan"));
}

TEST_F(ExecutableTest, UnknownBackendsAndMovedFromObjectsAreRefused) {
  Options options;
  options.backend = "abacus";
  Error error = caught([&] { (void)Executable::build(executable_.program(), options); });
  EXPECT_EQ(error.code(), Code::kInvalidOption);
  EXPECT_THAT(error.what(), HasSubstr("unknown back end 'abacus'; there are: auto"));
  EXPECT_THAT(error.what(), HasSubstr("host"));

  Executable moved = std::move(executable_);
  error = caught([&] { executable_.replay({}); });  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(error.code(), Code::kInvalidState);
  executable_ = std::move(moved);
  still_works();
}

TEST_F(ExecutableTest, ASecondReplayInFlightIsRefused) {
  // A replay long enough to meet another one.
  const Forward forward = [](const Tensors& in) -> Tensors {
    at::Tensor y = in[0];
    for (int i = 0; i < 50; ++i) y = at::mm(y, in[0]).tanh();
    return {y};
  };
  const at::Tensor x = at::randn({128, 128}).mul(0.1);
  Executable executable = build_host(trace_program(forward, {x}));
  const at::Tensor want = eager(forward, {x})[0];
  std::atomic<bool> stop = false;
  std::atomic<int> refused = 0;
  std::thread other([&] {
    while (!stop) {
      try {
        expect_close(executable.replay({x})[0], want, 1e-5, "in the other thread");
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), Code::kInvalidState);
        ++refused;
      }
    }
  });
  for (int i = 0; i < 100000 && refused == 0; ++i) {
    try {
      expect_close(executable.replay({x})[0], want, 1e-5, "in this thread");
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kInvalidState);
      ++refused;
    }
  }
  stop = true;
  other.join();
  EXPECT_GT(refused, 0) << "the two never met";
  expect_close(executable.replay({x})[0], want, 1e-5, "afterwards");
}

}  // namespace
}  // namespace monograph::test
