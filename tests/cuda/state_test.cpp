// Declared state on the CUDA back end: what eager leaves, from the first call on, whatever shape.
#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include <functional>
#include <optional>

#include "runtime/cuda/handles.h"
#include "tests/cuda/open_driver.h"
#include "tests/cuda/virtual_device.h"

namespace monograph::test {
namespace {

using at::Tensor;
using testing::HasSubstr;
using Tensors = std::vector<Tensor>;

/// A module with three pieces of state, of whole numbers, so that results are exact everywhere.
struct Stateful {
  Tensor step = at::zeros({1});
  Tensor cache = at::arange(24, at::kFloat).reshape({6, 4});
  Tensor position = at::zeros({1}, at::kLong);

  /// Keeps a ring of rows; returns them, the number of calls and a read of what was there before.
  Tensors forward(const Tensors& in) const {
    const Tensor before = cache.sum(0);
    step.add_(1);
    cache.index_copy_(0, position, in[0].slice(0, 0, 1));
    position.add_(1).remainder_(6);
    return {in[0] * step, cache + 0, before, position};
  }
  Module module() const {
    Module m;
    m.forward = [self = *this](const Tensors& in) { return self.forward(in); };
    m.tensors = {{"step", step, true}, {"cache", cache, true}, {"position", position, true}};
    m.input_names = {"x"};
    return m;
  }
  Tensors state() const { return {step, cache, position}; }
};

Tensor whole_numbers(std::int64_t rows) {
  return at::randint(-9, 9, {rows, 4}).to(at::kFloat);
}

void expect_equal(const Tensors& got, const Tensors& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_TRUE(at::equal(got[i].cpu(), want[i])) << what << " " << i << "\n"
                                                  << got[i] << "\nnot\n"
                                                  << want[i];
  }
}

class DeviceState : public testing::TestWithParam<Setting> {
 protected:
  void SetUp() override {
    if (GetParam().gate) forget_times();
  }
  Options options() const {
    Options o = cuda_options(GetParam());
    o.mutable_state = {"step", "c*", "position"};
    return o;
  }
  /// One call here and one of eager's there, which must give and leave the same.
  static void step_together(CompiledModule& compiled, const Stateful& here, const Stateful& there,
                            const Tensor& x, const std::string& what) {
    const Tensors got = compiled({x});
    const c10::NoGradGuard no_grad;
    const Tensors want = there.forward({x});
    expect_equal(got, want, what + ": output");
    expect_equal(here.state(), there.state(), what + ": state");
  }
};

TEST_P(DeviceState, FirstResultAndEveryLaterOneAreEagers) {
  const Stateful here;
  const Stateful there;
  CompiledModule compiled(here.module(), options());
  for (int call = 1; call <= 8; ++call) {
    step_together(compiled, here, there, whole_numbers(3), "call " + std::to_string(call));
  }
  EXPECT_EQ(compiled.counters().traces, 1U);
  EXPECT_EQ(here.step.item<float>(), 8);
}

TEST_P(DeviceState, ManyShapesShareItAndBuildingWritesNothing) {
  const Stateful here;
  const Stateful there;
  CompiledModule compiled(here.module(), options());
  for (const std::int64_t rows : {2, 5, 2, 1, 5, 1, 2}) {
    step_together(compiled, here, there, whole_numbers(rows), std::to_string(rows) + " rows");
  }
  EXPECT_EQ(compiled.shape_count(), 3U);
  compiled.prepare({whole_numbers(4)});
  expect_equal(here.state(), there.state(), "after building for another shape: state");
  step_together(compiled, here, there, whole_numbers(4), "the new shape");
}

TEST_P(DeviceState, TheCallerMayWriteItBetweenCalls) {
  const Stateful here;
  const Stateful there;
  CompiledModule compiled(here.module(), options());
  step_together(compiled, here, there, whole_numbers(2), "before");
  for (const Stateful* s : {&here, &there}) {
    s->step.fill_(40);
    s->cache.data_ptr<float>()[5] = -3;  // by a write that LibTorch doesn't count
    s->position.zero_();
  }
  step_together(compiled, here, there, whole_numbers(2), "after");
  step_together(compiled, here, there, whole_numbers(3), "after, another shape");
}

TEST_P(DeviceState, ItsAddressIsPinnedAndAMovedOneIsAnErrorByName) {
  const Stateful here;
  CompiledModule compiled(here.module(), options());
  const void* address = here.cache.const_data_ptr();
  for (int i = 0; i < 3; ++i) compiled({whole_numbers(2)});
  EXPECT_EQ(here.cache.const_data_ptr(), address);
  at::DataPtr old =
      here.cache.storage().set_data_ptr(c10::GetCPUAllocator()->allocate(here.cache.nbytes()));
  try {
    compiled({whole_numbers(2)});
    FAIL() << "moved state was accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kInvalidState);
    EXPECT_THAT(e.what(), HasSubstr("weight 'cache' lies in other memory"));
  }
}

TEST_P(DeviceState, AnInputOnItIsRefusedByName) {
  const Stateful here;
  const Stateful there;
  CompiledModule compiled(here.module(), options());
  step_together(compiled, here, there, whole_numbers(2), "before");
  try {
    compiled({here.cache.slice(0, 1, 3)});
    FAIL() << "an input that overlaps state was accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kInvalidArgument);
    EXPECT_THAT(e.what(), HasSubstr("input 0 ('x') overlaps state 'cache'"));
  }
  step_together(compiled, here, there, whole_numbers(2), "after");
}

TEST_P(DeviceState, VerifiedCallsWriteItOnce) {
  const Stateful here;
  const Stateful there;
  Options o = options();
  o.verify_calls = 2;
  CompiledModule compiled(here.module(), o);
  for (int i = 0; i < 4; ++i) step_together(compiled, here, there, whole_numbers(2), "verified");
  EXPECT_EQ(compiled.counters().verified, 2U);
}

/// A tensor in the device's own memory, without LibTorch's CUDA half.
class OnDevice {
 public:
  OnDevice(const cuda::ContextRef& context, const std::vector<float>& values)
      : buffer_(cuda::DeviceBuffer::allocate(context, values.size() * sizeof(float))),
        count_(static_cast<std::int64_t>(values.size())) {
    write(values);
  }
  Tensor tensor() const {
    c10::Storage storage(
        c10::Storage::use_byte_size_t(), static_cast<std::size_t>(count_) * sizeof(float),
        c10::DataPtr(reinterpret_cast<void*>(buffer_.get()), c10::Device(c10::kCUDA, 0)), nullptr,
        false);
    auto t = at::detail::make_tensor<c10::TensorImpl>(std::move(storage),
                                                      c10::DispatchKeySet(c10::DispatchKey::CUDA),
                                                      caffe2::TypeMeta::Make<float>());
    t.unsafeGetTensorImpl()->set_sizes_contiguous(std::vector<std::int64_t>{count_});
    return t;
  }
  void write(const std::vector<float>& values) {
    cu().MemcpyHtoDAsync(buffer_.get(), values.data(), values.size() * sizeof(float), nullptr);
    buffer_.context()->synchronize();
  }
  std::vector<float> read() const {
    std::vector<float> out(static_cast<std::size_t>(count_));
    buffer_.context()->synchronize();
    cu().MemcpyDtoHAsync(out.data(), buffer_.get(), out.size() * sizeof(float), nullptr);
    buffer_.context()->synchronize();
    return out;
  }

 private:
  const cuda::Driver& cu() const { return buffer_.context()->driver(); }
  cuda::DeviceBuffer buffer_;
  std::int64_t count_;
};

/// total += x, returned times `factor`: state on the device, read and written where it is.
std::string running_total(const char* factor) {
  return std::string(R"(graph totals {
  %x : f32[4]{device=cuda:0} = placeholder[target=x]
  %total : f32[4]{device=cuda:0} = get_attr[target=total, kind=state]
  %add_ : f32[4]{device=cuda:0, alias=%total} = call_function[target=aten.add_.Tensor, writes=(%total,)](args = (%total, %x), kwargs = {})
  %mul : f32[4]{device=cuda:0} = call_function[target=aten.mul.Tensor](args = (%add_, )") +
         factor + R"(), kwargs = {})
  return (%mul,)
})";
}

TEST_P(DeviceState, OnTheDeviceTwoExecutablesShareOneMemory) {
  const auto context = cuda::Context::retain(open_driver_under_test());
  const cuda::CurrentContext current(*context);
  OnDevice x(context, {1, 2, 3, 4});
  OnDevice out(context, {-1, -1, -1, -1});
  OnDevice total(context, {10, 20, 30, 40});
  const auto build = [&](const char* factor) {
    return Executable::build(
        Program::parse(running_total(factor), {{"total", total.tensor(), true}}),
        cuda_options(GetParam()));
  };
  Executable twice = build("2.0");
  Executable thrice = build("3.0");
  EXPECT_THAT(total.read(), testing::ElementsAre(10, 20, 30, 40)) << "building writes nothing";
  std::vector<float> want = {10, 20, 30, 40};
  for (int call = 0; call < 6; ++call) {
    const std::vector<float> add = {static_cast<float>(call), 1, -2, 0.5F};
    x.write(add);
    Tensors outputs = {out.tensor()};
    (call % 2 == 0 ? twice : thrice).replay({x.tensor()}, outputs);
    std::vector<float> result;
    for (std::size_t i = 0; i < want.size(); ++i) {
      want[i] += add[i];
      result.push_back(want[i] * (call % 2 == 0 ? 2 : 3));
    }
    EXPECT_EQ(out.read(), result) << call;
    EXPECT_EQ(total.read(), want) << call;
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, DeviceState,
                         testing::Values(Setting{GraphMode::kFull}, Setting{GraphMode::kNone},
                                         Setting{GraphMode::kFull, true}),
                         [](const auto& setting) { return name_of(setting.param); });

}  // namespace
}  // namespace monograph::test
