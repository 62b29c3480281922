// Properties of the host back end: repeatability, allocation, threads, views, fusions, choices.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <c10/core/Allocator.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>

#include "capture/ir/text.h"
#include "runtime/host/math/gemm.h"
#include "tests/host/support.h"

namespace monograph::test {
namespace {

using testing::HasSubstr;

/// Counts allocations of tensor data while alive.
class CountingAllocator final : public c10::Allocator {
 public:
  CountingAllocator() : inner_(c10::GetAllocator(at::kCPU)) { c10::SetAllocator(at::kCPU, this); }
  ~CountingAllocator() override { c10::SetAllocator(at::kCPU, inner_); }
  CountingAllocator(const CountingAllocator&) = delete;
  CountingAllocator& operator=(const CountingAllocator&) = delete;
  c10::DataPtr allocate(std::size_t n) override {
    ++count_;
    return inner_->allocate(n);
  }
  c10::DeleterFnPtr raw_deleter() const override { return inner_->raw_deleter(); }
  void copy_data(void* to, const void* from, std::size_t n) const override {
    inner_->copy_data(to, from, n);
  }
  int count() const { return count_; }

 private:
  c10::Allocator* inner_;
  std::atomic<int> count_ = 0;
};

/// One encoder layer written out: most operators of a transformer.
Forward encoder(const Tensors& w) {
  return [w](const Tensors& in) -> Tensors {
    const at::Tensor& x = in[0];
    const auto b = x.size(0);
    const auto s = x.size(1);
    const auto d = x.size(2);
    const auto heads = [&](const at::Tensor& t) {
      return t.view({b, s, 4, d / 4}).transpose(1, 2);
    };
    const at::Tensor q = heads(at::linear(x, w[0], w[1]));
    const at::Tensor k = heads(at::linear(x, w[2], w[1]));
    const at::Tensor v = heads(at::linear(x, w[3], w[1]));
    const at::Tensor p = at::softmax(at::matmul(q, k.transpose(-1, -2)) * 0.25, -1);
    const at::Tensor a = at::matmul(p, v).transpose(1, 2).reshape({b, s, d});
    const at::Tensor y = at::layer_norm(x + at::linear(a, w[0], w[1]), {d}, w[1], w[1]);
    return {at::layer_norm(y + at::linear(at::gelu(at::linear(y, w[4], w[5])), w[6], w[1]), {d})};
  };
}

Tensors encoder_weights(std::int64_t d) {
  const auto scaled = [](std::vector<std::int64_t> shape) {
    return at::randn(shape) / std::sqrt(static_cast<double>(shape.back()));
  };
  return {scaled({d, d}),     at::randn({d}),     scaled({d, d}),    scaled({d, d}),
          scaled({4 * d, d}), at::randn({4 * d}), scaled({d, 4 * d})};
}

TEST(Host, AThousandReplaysAreBitIdentical) {
  at::manual_seed(11);
  const Forward forward = encoder(encoder_weights(64));
  const Tensors inputs = {at::randn({1, 16, 64})};
  Executable executable = build_host(trace_program(forward, inputs));
  const Tensors first = executable.replay(inputs);
  expect_close(first[0], eager(forward, inputs)[0], 1e-5, "encoder");
  for (int i = 0; i < 1000; ++i) {
    if (i % 100 == 0) poison(executable);
    const Tensors again = executable.replay(inputs);
    expect_identical(again, first, "replay " + std::to_string(i));
    if (HasFailure()) break;
  }
}

TEST(Host, AnEncoderLayerReplaysWithoutAllocatingTensorData) {
  at::manual_seed(12);
  const Forward forward = encoder(encoder_weights(64));
  const Tensors inputs = {at::randn({2, 16, 64})};
  Executable executable = build_host(trace_program(forward, inputs));
  EXPECT_THAT(executable.report().allocating_launches, testing::IsEmpty());
  Tensors outputs = executable.replay(inputs);
  outputs[0].fill_(7);
  const Tensors fresh = {at::randn({2, 16, 64})};
  const CountingAllocator allocations;
  executable.replay(fresh, outputs);
  EXPECT_EQ(allocations.count(), 0);
  expect_close(outputs[0], eager(forward, fresh)[0], 1e-5, "encoder");
  EXPECT_GT(allocations.count(), 0) << "the counter counts: eager allocates";
}

TEST(Host, ResultsDontDependOnTheThreadCount) {
  at::manual_seed(13);
  const int threads = at::get_num_threads();
  for (const std::int64_t rows : {1, 3, 8, 33}) {
    const Tensors w = {at::randn({256, 192}), at::randn({256})};
    const Forward forward = [w](const Tensors& in) -> Tensors {
      return {at::relu(at::linear(in[0], w[0], w[1]))};
    };
    const Tensors inputs = {at::randn({rows, 192})};
    Executable executable = build_host(trace_program(forward, inputs));
    at::set_num_threads(1);
    const Tensors one = executable.replay(inputs);
    at::set_num_threads(2);
    const Tensors two = executable.replay(inputs);
    at::set_num_threads(threads);
    expect_identical(one, two, std::to_string(rows) + " rows");
  }
}

/// One product of each kind at odd sizes and strides, split in two, against double precision.
void check_products(std::int64_t m, std::int64_t n, std::int64_t k) {
  for (const bool transposed : {true, false}) {
    const at::Tensor x = at::randn({m, k + 3}).slice(1, 0, k);
    const at::Tensor w =
        transposed ? at::randn({n, k + 5}).slice(1, 0, k) : at::randn({k, n + 5}).slice(1, 0, n);
    const at::Tensor bias = at::randn({n});
    const at::Tensor y = at::full({m, n + 2}, NAN);
    host::math::Gemm g;
    g.x = x.const_data_ptr<float>();
    g.w = w.const_data_ptr<float>();
    g.bias = n % 2 == 0 ? nullptr : bias.const_data_ptr<float>();
    g.y = y.mutable_data_ptr<float>();
    g.m = m, g.n = n, g.k = k;
    g.ldx = x.stride(0), g.ldw = w.stride(0), g.ldy = y.stride(0);
    const auto kernel =
        transposed ? host::math::gemm_kernels()->nt : host::math::gemm_kernels()->nn;
    kernel(g, 0, n / 2);
    kernel(g, n / 2, n);
    const at::Tensor right = w.to(at::kDouble);
    at::Tensor want = x.to(at::kDouble).mm(transposed ? right.t() : right);
    if (g.bias != nullptr) want = want + bias;
    expect_close(y.slice(1, 0, n), want.to(at::kFloat), 1e-5,
                 std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k));
    EXPECT_TRUE(at::isnan(y.slice(1, n)).all().item<bool>()) << "wrote beyond its columns";
  }
}

TEST(Host, PointwiseResultsDontDependOnTheThreadCount) {
  at::manual_seed(17);
  const int threads = at::get_num_threads();
  const Forward forward = [](const Tensors& in) -> Tensors {
    return {at::gelu(in[0]) + in[0] * 0.3, at::softmax(in[0], -1)};
  };
  const Tensors inputs = {at::randn({37, 4099})};
  Executable executable = build_host(trace_program(forward, inputs));
  at::set_num_threads(1);
  const Tensors one = executable.replay(inputs);
  at::set_num_threads(3);
  const Tensors three = executable.replay(inputs);
  at::set_num_threads(threads);
  expect_identical(one, three, "threads");
  const Tensors want = eager(forward, inputs);
  for (std::size_t i = 0; i < want.size(); ++i) expect_close(one[i], want[i], 1e-5, "eager");
}

TEST(Host, ProductsMatchDoublePrecisionAtOddSizes) {
  ASSERT_NE(host::math::gemm_kernels(), nullptr) << "this processor lacks AVX2 and AVX-512";
  at::manual_seed(14);
  for (const std::int64_t m : {1, 2, 3, 4, 5, 7, 9, 16}) {
    for (const std::int64_t n : {1, 3, 4, 7, 15, 16, 17, 40}) {
      for (const std::int64_t k : {1, 2, 7, 8, 15, 16, 17, 31, 33, 100}) check_products(m, n, k);
    }
  }
}

TEST(Host, AutocastIsPartOfTheGraphOnly) {
  at::manual_seed(15);
  const Tensors w = {at::randn({8, 16}), at::randn({8})};
  const Forward forward = [w](const Tensors& in) -> Tensors {
    return {at::linear(in[0], w[0], w[1]).add(1)};
  };
  const Tensors inputs = {at::randn({3, 16})};
  Executable executable = build_host(trace_program(forward, inputs));
  const Tensors plain = executable.replay(inputs);
  at::autocast::set_autocast_enabled(at::kCPU, true);
  const Tensors under_autocast = executable.replay(inputs);
  at::autocast::set_autocast_enabled(at::kCPU, false);
  expect_identical(under_autocast, plain, "under autocast");
}

TEST(Host, FusionsRunTheirSubgraph) {
  const char* text = R"(graph outer {
    %x : f32[4,8] = placeholder[target=x]
    %w : f32[8] = get_attr[target=w, kind=parameter]
    %exp : f32[4,8] = call_function[target=aten.exp.default](args = (%x,), kwargs = {})
    %f : f32[4,8] = call_function[target=fusion.scale](args = (%exp, %w), kwargs = {})
    %relu : f32[4,8] = call_function[target=aten.relu.default](args = (%f,), kwargs = {})
    return (%relu,)
    subgraph scale {
      %a : f32[4,8] = placeholder[target=a]
      %b : f32[8] = placeholder[target=b]
      %mul : f32[4,8] = call_function[target=aten.mul.Tensor](args = (%a, %b), kwargs = {})
      %tanh_ : f32[4,8]{alias=%mul} = call_function[target=aten.tanh_.default, writes=(%mul,)](args = (%mul,), kwargs = {})
      %add : f32[4,8] = call_function[target=aten.add.Tensor](args = (%tanh_, %a), kwargs = {alpha: 0.5})
      return (%add,)
    }
  })";
  at::manual_seed(16);
  const at::Tensor w = at::randn({8});
  Executable executable = build_host(Program::parse(text, {{"w", w, false}}));
  for (int i = 0; i < 3; ++i) {
    const at::Tensor x = at::randn({4, 8});
    poison(executable);
    const at::Tensor a = at::exp(x);
    expect_close(executable.replay({x})[0], at::relu(at::tanh(a * w) + a * 0.5), 1e-6, "fusion");
  }
  EXPECT_THAT(executable.dump("launches"), HasSubstr("fusion.scale"));
}

TEST(Host, WeightsMayLieAnywhereInTheirStorage) {
  const char* text = R"(graph offset {
    %x : f32[3] = placeholder[target=x]
    %w : f32[3] = get_attr[target=w, kind=parameter]
    %add : f32[3] = call_function[target=aten.add.Tensor](args = (%x, %w), kwargs = {})
    return (%add,)
  })";
  const at::Tensor all = at::randn({10});
  Executable executable = build_host(Program::parse(text, {{"w", all.slice(0, 4, 7), false}}));
  const at::Tensor x = at::randn({3});
  expect_close(executable.replay({x})[0], x + all.slice(0, 4, 7), 0, "weight at an offset");
}

/// LibTorch's operator puts clamped indices into the list that it is given.
TEST(Host, OperatorsThatWriteIntoTheirListsSeeTheNextIndices) {
  const char* text = R"(graph masked {
    %x : f32[5] = placeholder[target=x]
    %mask : bool[4] = placeholder[target=mask]
    %i : i64[4] = placeholder[target=i]
    %y : f32[4] = call_function[target=aten._unsafe_masked_index.default](args = (%x, %mask, [%i], -1.5), kwargs = {})
    return (%y,)
  })";
  Executable executable = build_host(Program::parse(text, {}));
  for (int replay = 0; replay < 3; ++replay) {
    const at::Tensor x = at::randn({5});
    const at::Tensor i = at::randperm(5, at::kLong).slice(0, 0, 4).contiguous();
    const at::Tensor mask = at::arange(4) != 2;
    const at::Tensor want = at::where(mask, x.index_select(0, i), -1.5);
    expect_close(executable.replay({x, mask, i})[0], want, 0, "masked");
  }
}

TEST(Host, UnknownOperatorsAreRefusedByName) {
  const char* text = R"(graph unknown {
    %x : f32[3] = placeholder[target=x]
    %y : f32[3] = call_function[target=nowhere.frobnicate.default](args = (%x,), kwargs = {})
    return (%y,)
  })";
  try {
    (void)build_host(Program::parse(text, {}));
    FAIL() << "built";
  } catch (const Error& e) {
    EXPECT_EQ(e.node(), "y");
    EXPECT_THAT(e.what(), HasSubstr("nowhere"));
  }
}

TEST(Host, LaunchesSayWhoRunsThem) {
  const Tensors w = {at::randn({8, 16}), at::randn({8})};
  const Forward forward = [w](const Tensors& in) -> Tensors {
    return {at::tanh(at::linear(in[0], w[0], w[1]))};
  };
  const Executable executable = build_host(trace_program(forward, {at::randn({3, 16})}));
  EXPECT_THAT(executable.dump("launches"), HasSubstr("host.linear"));
}

}  // namespace
}  // namespace monograph::test
