// Callers' tensors on the device: patched, staged, copied to where kernels can load them.
// LibTorch's CUDA half isn't needed for that, so the virtual GPU serves.
#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <optional>

#include "runtime/cuda/handles.h"
#include "tests/cuda/open_driver.h"
#include "tests/cuda/virtual_device.h"

namespace monograph::test {
namespace {

using testing::HasSubstr;

/// `count` floats of device memory, and tensors over them.
class Floats {
 public:
  Floats(const cuda::ContextRef& context, std::int64_t count)
      : buffer_(cuda::DeviceBuffer::allocate(context, static_cast<std::size_t>(count) * 4)),
        count_(count) {}
  /// A tensor of `n` elements that starts `offset` elements in.
  at::Tensor tensor(std::int64_t n, std::int64_t offset = 0) const {
    c10::Storage storage(
        c10::Storage::use_byte_size_t(), static_cast<std::size_t>(count_) * 4,
        c10::DataPtr(reinterpret_cast<void*>(buffer_.get()), c10::Device(c10::kCUDA, 0)), nullptr,
        false);
    auto t = at::detail::make_tensor<c10::TensorImpl>(std::move(storage),
                                                      c10::DispatchKeySet(c10::DispatchKey::CUDA),
                                                      caffe2::TypeMeta::Make<float>());
    t.unsafeGetTensorImpl()->set_sizes_and_strides(std::vector<std::int64_t>{n},
                                                   std::vector<std::int64_t>{1}, offset);
    return t;
  }
  void fill(const std::vector<float>& values, std::int64_t offset = 0) {
    cu().MemcpyHtoDAsync(buffer_.get() + static_cast<CUdeviceptr>(offset) * 4, values.data(),
                         values.size() * 4, nullptr);
    buffer_.context()->synchronize();
  }
  std::vector<float> read(std::int64_t n, std::int64_t offset = 0) const {
    std::vector<float> out(static_cast<std::size_t>(n));
    buffer_.context()->synchronize();
    cu().MemcpyDtoHAsync(out.data(), buffer_.get() + static_cast<CUdeviceptr>(offset) * 4,
                         out.size() * 4, nullptr);
    buffer_.context()->synchronize();
    return out;
  }

 private:
  const cuda::Driver& cu() const { return buffer_.context()->driver(); }
  cuda::DeviceBuffer buffer_;
  std::int64_t count_;
};

/// out0 = (x + 1) + ... + (x + readers), by `readers` nodes that read x.
std::string sums(int readers) {
  std::string s = "graph sums {\n  %x : f32[100]{device=cuda:0} = placeholder[target=x]\n";
  std::string last = "x";
  for (int i = 1; i <= readers; ++i) {
    const std::string n = std::to_string(i);
    s += "  %r" + n +
         " : f32[100]{device=cuda:0} = call_function[target=aten.mul.Tensor](args = (%x, " + n +
         ".0), kwargs = {})\n";
  }
  last = "r1";
  for (int i = 2; i <= readers; ++i) {
    const std::string n = std::to_string(i);
    s += "  %s" + n +
         " : f32[100]{device=cuda:0} = call_function[target=aten.add.Tensor](args = (%" + last +
         ", %r" + n + "), kwargs = {alpha: 1})\n";
    last = "s" + n;
  }
  return s + "  return (%" + last + ",)\n}";
}

class DeviceTensors : public testing::TestWithParam<GraphMode> {
 protected:
  void SetUp() override {
    context = cuda::Context::retain(open_driver_under_test());
    current.emplace(*context);
    std::vector<float> values;
    for (int i = 0; i < 100; ++i) values.push_back(static_cast<float>(i) * 0.5F);
    a.emplace(context, 128);
    b.emplace(context, 128);
    out.emplace(context, 128);
    a->fill(values);
    for (float& v : values) v = -v;
    b->fill(values, 4);
    b->fill(values, 4);
  }
  void TearDown() override {
    a.reset();
    b.reset();
    out.reset();
    current.reset();
    context.reset();
    EXPECT_EQ(leaks(), "");
  }
  void expect(float factor, std::int64_t offset = 0) {
    const auto got = out->read(100, offset);
    for (int i = 0; i < 100; ++i) {
      ASSERT_FLOAT_EQ(got[static_cast<std::size_t>(i)], factor * static_cast<float>(i) * 0.5F) << i;
    }
  }
  void replay(Executable& e, const at::Tensor& x, std::int64_t offset = 0) {
    std::vector<at::Tensor> outputs{out->tensor(100, offset)};
    e.replay({x}, outputs);
  }
  cuda::ContextRef context;
  std::optional<cuda::CurrentContext> current;
  std::optional<Floats> a, b, out;
};

TEST_P(DeviceTensors, FewReadersArePatchedAndManyAreStaged) {
  for (const int readers : {1, 4, 5, 7}) {
    const float factor = static_cast<float>(readers * (readers + 1)) / 2;
    Executable e = Executable::build(Program::parse(sums(readers), {}), cuda_options(GetParam()));
    const bool staged = readers > 4;
    if (GetParam() == GraphMode::kFull) {
      EXPECT_EQ(e.dump("graph_nodes").find("%input x: memcpy 400 bytes") != std::string::npos,
                staged);
    }
    replay(e, a->tensor(100));
    expect(factor);
    const auto patches = [] {
      return calls("cuGraphExecKernelNodeSetParams") + calls("cuGraphExecMemcpyNodeSetParams");
    };
    auto before = patches();
    replay(e, a->tensor(100));
    expect(factor);
    EXPECT_EQ(patches(), before) << "nothing moved";
    replay(e, b->tensor(100, 4));
    expect(-factor);
    if (GetParam() == GraphMode::kFull) {
      EXPECT_EQ(patches() - before, staged ? 1u : static_cast<unsigned>(readers));
    }
    EXPECT_EQ(a->read(100)[99], 49.5F) << "inputs are never written";
  }
}

/// out0 = 21 (x + y), by six nodes that read x and six that read y.
constexpr int kReaders = 6;
std::string two_sums() {
  std::string s = "graph sums {\n";
  for (const char* in : {"x", "y"}) {
    s += std::string("  %") + in + " : f32[100]{device=cuda:0} = placeholder[target=" + in + "]\n";
  }
  const std::string result = " : f32[100]{device=cuda:0} = call_function[target=aten.";
  std::string last;
  for (int i = 0; i < 2 * kReaders; ++i) {
    const std::string n = std::to_string(i);
    s += "  %r" + n + result + "mul.Tensor](args = (%" + (i < kReaders ? "x" : "y") + ", " +
         std::to_string(i % kReaders + 1) + ".0), kwargs = {})\n";
    if (i > 0) {
      s += "  %s" + n + result + "add.Tensor](args = (%" + last + ", %r" + n +
           "), kwargs = {alpha: 1})\n";
    }
    last = (i > 0 ? "s" : "r") + n;
  }
  return s + "  return (%" + last + ",)\n}";
}

TEST_P(DeviceTensors, SeveralStagedInputsAreCopiedByOneLaunch) {
  Executable e = Executable::build(Program::parse(two_sums(), {}), cuda_options(GetParam()));
  const std::string nodes = e.dump("graph_nodes");
  if (GetParam() == GraphMode::kFull) {
    EXPECT_THAT(nodes, HasSubstr("%inputs: "));
    EXPECT_THAT(nodes, testing::Not(HasSubstr("memcpy")));
  }
  const auto patches = [] { return calls("cuGraphExecKernelNodeSetParams"); };
  std::vector<at::Tensor> outputs{out->tensor(100)};
  std::vector<float> values;
  for (int i = 0; i < 100; ++i) values.push_back(static_cast<float>(i) * 0.5F);
  e.replay({a->tensor(100), a->tensor(100)}, outputs);
  expect(42);
  const auto before = patches();
  e.replay({a->tensor(100), b->tensor(100, 4)}, outputs);
  expect(0);
  e.replay({b->tensor(100, 4), b->tensor(100, 4)}, outputs);
  expect(-42);
  if (GetParam() == GraphMode::kFull) {
    EXPECT_EQ(patches() - before, 2u);
  }
  // Callers' tensors need be aligned no better than their elements.
  a->fill(values, 3);
  e.replay({a->tensor(100, 3), b->tensor(100, 4)}, outputs);
  expect(0);
  EXPECT_EQ(a->read(100, 3)[99], 49.5F) << "inputs are never written";
}

/// A full edge from the copy to every reader would stand beside the programmatic ones between them.
TEST_P(DeviceTensors, OnlyTheFirstOfReadersInARowWaitsForTheCopy) {
  std::string text = "graph chain {\n  %x : f32[100]{device=cuda:0} = placeholder[target=x]\n";
  std::string last = "x";
  for (const char* n : {"a", "b", "c", "d", "e", "f"}) {
    text += std::string("  %") + n +
            " : f32[100]{device=cuda:0} = call_function[target=aten.add.Tensor](args = (%" + last +
            ", %x), kwargs = {alpha: 1})\n";
    last = n;
  }
  Executable e =
      Executable::build(Program::parse(text + "  return (%f,)\n}", {}), cuda_options(GetParam()));
  if (GetParam() == GraphMode::kFull) {
    const std::string nodes = e.dump("graph_nodes");
    EXPECT_THAT(nodes, HasSubstr("node 0 %input x: memcpy"));
    EXPECT_THAT(nodes, HasSubstr("edge 0 -> 1"));
    EXPECT_THAT(nodes, testing::Not(HasSubstr("edge 0 -> 2")));
  }
  std::vector<at::Tensor> outputs{out->tensor(100)};
  for (const float value : {1.5F, -2.0F}) {
    a->fill(std::vector<float>(100, value));
    e.replay({a->tensor(100)}, outputs);
    EXPECT_EQ(out->read(100)[99], 7 * value);
  }
}

TEST_P(DeviceTensors, ALibraryCallReadsSeveralInputsOfOneCopy) {
  Executable e = Executable::build(Program::parse(R"(graph called {
  %x : f32[100]{device=cuda:0} = placeholder[target=x]
  %y : f32[100]{device=cuda:0} = placeholder[target=y]
  %hypot : f32[100]{device=cuda:0} = call_function[target=aten.hypot.default](args = (%x, %y), kwargs = {})
  return (%hypot,)
})",
                                                  {}),
                                   cuda_options(GetParam()));
  if (GetParam() == GraphMode::kFull) {
    EXPECT_THAT(e.dump("graph_nodes"), HasSubstr("%inputs: "));
  }
  std::vector<at::Tensor> outputs{out->tensor(100)};
  std::vector<float> values;
  for (int i = 0; i < 100; ++i) values.push_back(static_cast<float>(i) * 3);
  a->fill(values);
  for (float& v : values) v *= 4.0F / 3;
  b->fill(values, 4);
  for (int replay = 0; replay < 2; ++replay) {
    e.replay({a->tensor(100), b->tensor(100, 4)}, outputs);
    EXPECT_EQ(out->read(100)[99], 495.0F);
  }
}

TEST_P(DeviceTensors, MisalignedTensorsGoThroughABuffer) {
  Executable e = Executable::build(Program::parse(sums(2), {}), cuda_options(GetParam()));
  std::vector<float> values;
  for (int i = 0; i < 100; ++i) values.push_back(static_cast<float>(i) * 0.5F);
  for (const std::int64_t offset : {1, 3, 0, 2, 4}) {
    a->fill(values, offset);
    replay(e, a->tensor(100, offset), offset);
    expect(3, offset);
    replay(e, a->tensor(100, offset), 0);
    expect(3);
  }
}

TEST_P(DeviceTensors, WeightsOnTheDeviceAreReadInPlaceAndCanBeReplaced) {
  const Program program = Program::parse(R"(graph scaled {
  %x : f32[100]{device=cuda:0} = placeholder[target=x]
  %w : f32[100]{device=cuda:0} = get_attr[target=w, kind=parameter]
  %mul : f32[100]{device=cuda:0} = call_function[target=aten.mul.Tensor](args = (%x, %w), kwargs = {})
  return (%mul,)
})",
                                         {{"w", b->tensor(100, 4), false}});
  b->fill(std::vector<float>(100, 3), 4);
  Executable e = Executable::build(program, cuda_options(GetParam()));
  replay(e, a->tensor(100));
  expect(3);
  b->fill(std::vector<float>(100, 5), 4);
  replay(e, a->tensor(100));
  expect(5);
  Floats fresh(context, 128);
  fresh.fill(std::vector<float>(100, 7), 4);
  e.rebind_weights({{"w", fresh.tensor(100, 4), false}});
  replay(e, a->tensor(100));
  expect(7);
}

TEST_P(DeviceTensors, AWeightThatALibraryCallHoldsIsNotReplaced) {
  const Program program = Program::parse(R"(graph called {
  %x : f32[100]{device=cuda:0} = placeholder[target=x]
  %w : f32[100]{device=cuda:0} = get_attr[target=w, kind=parameter]
  %lerp : f32[100]{device=cuda:0} = call_function[target=aten.hypot.default](args = (%x, %w), kwargs = {})
  return (%lerp,)
})",
                                         {{"w", b->tensor(100, 4), false}});
  b->fill(std::vector<float>(100, 0), 4);
  Executable e = Executable::build(program, cuda_options(GetParam()));
  replay(e, a->tensor(100));
  expect(1);
  Floats fresh(context, 128);
  try {
    e.rebind_weights({{"w", fresh.tensor(100, 4), false}});
    ADD_FAILURE() << "a captured call can't follow its weight";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInvalidState);
    EXPECT_EQ(error.node(), "lerp");
    EXPECT_THAT(error.what(), HasSubstr("weight 'w'"));
  }
  replay(e, a->tensor(100));
  expect(1);
}

/// The host's work in a replay, on a device that does nothing. Printed; the bound is a net against
/// blunders, since the machine may be busy.
TEST_P(DeviceTensors, AReplayCostsTheHostLittle) {
  if (GetParam() == GraphMode::kNone) return;  // a launch per node, by intention
  std::string text = "graph eight {\n";
  std::string sum = "in0";
  for (int i = 0; i < 8; ++i) {
    text += "  %in" + std::to_string(i) + " : f32[100]{device=cuda:0} = placeholder[target=in" +
            std::to_string(i) + "]\n";
  }
  for (int i = 1; i < 8; ++i) {
    text += "  %s" + std::to_string(i) +
            " : f32[100]{device=cuda:0} = call_function[target=aten.add.Tensor](args = (%" + sum +
            ", %in" + std::to_string(i) + "), kwargs = {alpha: 1})\n";
    sum = "s" + std::to_string(i);
  }
  Executable e =
      Executable::build(Program::parse(text + "  return (%" + sum + ",)\n}", {}), cuda_options());
  std::vector<at::Tensor> same, outputs{out->tensor(100)};
  for (int i = 0; i < 8; ++i) same.push_back(a->tensor(100));
  std::vector<at::Tensor> moved = same;
  moved[3] = b->tensor(100, 4);
  e.replay(same, outputs);
  expect(8);
  auto* set = control<decltype(&vgpu_set)>("vgpu_set");
  set("null_device", 1);
  const auto best_ns = [&](const std::function<void()>& call) {
    double best = 1e9;
    for (int round = 0; round < 50; ++round) {
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < 100; ++i) call();
      const std::chrono::duration<double, std::nano> took =
          std::chrono::steady_clock::now() - start;
      best = std::min(best, took.count() / 100);
    }
    return best;
  };
  const double unchanged = best_ns([&] { e.replay(same, outputs); });
  bool other = false;
  const double patched = best_ns([&] { e.replay((other = !other) ? moved : same, outputs); });
  set("null_device", 0);
  std::printf("replay with 8 inputs: %.0f ns, with one node patched: %.0f ns\n", unchanged,
              patched);
  EXPECT_LT(unchanged, 10e3);
  EXPECT_LT(patched, 20e3);
  e.replay(same, outputs);
  expect(8);
}

INSTANTIATE_TEST_SUITE_P(Modes, DeviceTensors, testing::Values(GraphMode::kFull, GraphMode::kNone),
                         [](const auto& mode) {
                           return mode.param == GraphMode::kFull ? "graph" : "stream";
                         });

}  // namespace
}  // namespace monograph::test
