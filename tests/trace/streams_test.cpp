// Streams, devices, and copies between host and device, seen by the tracer: on a pretended device.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/program.h>

#include "tests/trace/pretend_cuda.h"

namespace monograph::test {
namespace {

using at::Tensor;
using testing::HasSubstr;
using Tensors = std::vector<Tensor>;

constexpr c10::StreamId kOther = 7;

class Streams : public testing::Test {
 protected:
  void TearDown() override {
    EXPECT_EQ(current_stream(), 0) << "a trace left another stream current";
    EXPECT_EQ(current_device(), 0);
  }
  std::variant<Program, Rejection> trace(const ForwardFn& forward) const {
    Module module;
    module.forward = forward;
    module.input_names = {"x"};
    module.tensors = {{"w", w, false}};
    return Program::trace(module, {x});
  }
  Rejection rejected(const ForwardFn& forward) const {
    auto outcome = trace(forward);
    if (auto* rejection = std::get_if<Rejection>(&outcome)) return std::move(*rejection);
    ADD_FAILURE() << "accepted:\n" << std::get<Program>(outcome).text();
    return {};
  }
  void expect_accepted(const ForwardFn& forward) const {
    const auto outcome = trace(forward);
    if (const auto* rejection = std::get_if<Rejection>(&outcome)) {
      ADD_FAILURE() << rejection->to_string();
    }
  }
  Tensor x = on_device(at::randn({4, 4}));
  Tensor w = on_device(at::randn({4, 4}));
};

TEST_F(Streams, ThePretendedDeviceComputes) {
  const Tensor y = at::matmul(x, w).add_(1).t();
  EXPECT_TRUE(y.is_cuda());
  EXPECT_TRUE(at::allclose(y.cpu(), (at::matmul(x.cpu(), w.cpu()) + 1).t()));
  auto outcome = trace([this](const Tensors& in) -> Tensors { return {at::matmul(in[0], w)}; });
  ASSERT_TRUE(std::holds_alternative<Program>(outcome));
  EXPECT_THAT(std::get<Program>(outcome).text(), HasSubstr("device=cuda:0"));
}

TEST_F(Streams, WorkOnAnotherOneIsRefused) {
  const Rejection r = rejected([this](const Tensors& in) -> Tensors {
    const Tensor y = in[0] * 2;
    Tensor z;
    {
      const OnStream side(kOther);
      z = at::matmul(y, w);
    }
    return {y + z};
  });
  EXPECT_EQ(r.code, Code::kRejectedForeignThread);
  EXPECT_EQ(r.op, "aten.mm.default");
  EXPECT_THAT(r.reason, HasSubstr("another stream"));
  EXPECT_THAT(r.excerpt, HasSubstr(">>> %mm"));
}

TEST_F(Streams, ATensorMadeOnAnotherOneIsRefused) {
  const Rejection r = rejected([](const Tensors& in) -> Tensors {
    Tensor z;
    {
      const OnStream side(kOther);
      z = at::ones({4}, at::TensorOptions(kPretended));
    }
    return {in[0] + z};
  });
  EXPECT_EQ(r.code, Code::kRejectedForeignThread);
  EXPECT_THAT(r.reason, HasSubstr("another stream"));
}

TEST_F(Streams, ACopyToTheHostOnAnotherOneIsRefused) {
  const Rejection r = rejected([](const Tensors& in) -> Tensors {
    Tensor host;
    {
      const OnStream side(kOther);
      host = in[0].to(at::kCPU);
    }
    return {in[0] * 2, host};
  });
  EXPECT_EQ(r.code, Code::kRejectedForeignThread);
}

TEST_F(Streams, OneThatStaysCurrentIsRefusedAndPutBack) {
  const Rejection r = rejected([](const Tensors& in) -> Tensors {
    Tensor y = in[0] * 2;
    switch_stream(kOther);
    return {y};
  });
  EXPECT_EQ(r.code, Code::kRejectedGlobalState);
  EXPECT_EQ(r.subject, "current stream");
}

TEST_F(Streams, ADeviceThatStaysCurrentIsRefusedAndPutBack) {
  const Rejection r = rejected([](const Tensors& in) -> Tensors {
    Tensor y = in[0] * 2;
    switch_device(1);
    return {y};
  });
  EXPECT_EQ(r.code, Code::kRejectedGlobalState);
  EXPECT_EQ(r.subject, "current device");
}

TEST_F(Streams, PutBackAlsoWhenForwardThrows) {
  EXPECT_THROW((void)trace([](const Tensors&) -> Tensors {
                 switch_stream(kOther);
                 switch_device(2);
                 throw std::domain_error("not today");
               }),
               std::domain_error);
}

TEST_F(Streams, OneWithoutWorkIsFine) {
  expect_accepted([this](const Tensors& in) -> Tensors {
    { const OnStream side(kOther); }
    return {at::matmul(in[0], w)};
  });
}

TEST_F(Streams, TheCallersOwnIsFine) {
  const OnStream callers(kOther);
  expect_accepted([this](const Tensors& in) -> Tensors { return {at::matmul(in[0], w)}; });
}

// --- copies between host and device ---

TEST_F(Streams, ACopyOfHostDataThatChangesIsRefused) {
  std::vector<float> host = {1, 2, 3, 4};
  for (const bool asynchronous : {false, true}) {
    const Rejection r = rejected([&](const Tensors& in) -> Tensors {
      host[0] += 1;
      const Tensor scale = at::from_blob(host.data(), {4}).to(x.device(), at::kFloat, asynchronous);
      return {in[0] * scale};
    });
    EXPECT_EQ(r.code, Code::kRejectedDivergence);
    EXPECT_EQ(r.subject, "_tensor_constant0");
  }
}

TEST_F(Streams, AStagingBufferThatIsFilledAgainIsRefused) {
  const Tensor staging = at::zeros({4});
  const Rejection r = rejected([&](const Tensors& in) -> Tensors {
    const Tensor scale = staging.to(x.device(), at::kFloat, /*non_blocking=*/true);
    staging.mutable_data_ptr<float>()[0] += 1;  // for the next call, while the copy is under way
    return {in[0] * scale};
  });
  EXPECT_EQ(r.code, Code::kRejectedMutation);
  EXPECT_EQ(r.subject, "_tensor_constant0");
}

TEST_F(Streams, ACopyOfHostDataThatStaysIsFine) {
  const std::vector<float> host = {1, 2, 3, 4};
  expect_accepted([&](const Tensors& in) -> Tensors {
    const Tensor scale =
        at::from_blob(const_cast<float*>(host.data()), {4}).to(x.device(), at::kFloat, true);
    return {in[0] * scale};
  });
}

TEST_F(Streams, AnAsynchronousResultThatIsReadLateIsRefused) {
  const Rejection r = rejected([](const Tensors& in) -> Tensors {
    const Tensor host = at::empty({4});
    host.copy_(in[0].sum(0), /*non_blocking=*/true);
    const Tensor y = in[0].relu();
    return {y * host.const_data_ptr<float>()[0]};  // long after the copy was asked for
  });
  EXPECT_EQ(r.code, Code::kRejectedDataDependence);
}

TEST_F(Streams, AHostTensorOfNoDimensionsIsAConstantAndNotANumber) {
  Tensor scale = at::scalar_tensor(0.5);
  const auto outcome =
      trace([&](const Tensors& in) -> Tensors { return {in[0] * scale.to(x.device())}; });
  ASSERT_TRUE(std::holds_alternative<Program>(outcome));
  EXPECT_THAT(std::get<Program>(outcome).text(), HasSubstr("kind=constant"));
}

}  // namespace
}  // namespace monograph::test
