// Outputs, weights, faults and threads of executables, on the host and on the device under test.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include <thread>

#include "tests/cuda/virtual_device.h"

namespace monograph::test {
namespace {

using testing::HasSubstr;
using Tensors = std::vector<at::Tensor>;

constexpr const char* kScaled = R"(graph scaled {
  %x : f32[3,40] = placeholder[target=x]
  %w : f32[40] = get_attr[target=w, kind=parameter]
  %b : f32[40] = get_attr[target=b, kind=parameter]
  %mul : f32[3,40] = call_function[target=aten.mul.Tensor](args = (%x, %w), kwargs = {})
  %add : f32[3,40] = call_function[target=aten.add.Tensor](args = (%mul, %b), kwargs = {alpha: 1})
  %neg : f32[3,40] = call_function[target=aten.neg.default](args = (%add,), kwargs = {})
  return (%add, %neg)
})";

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

template <class Fn>
std::string torch_error(Fn&& fn) {
  try {
    fn();
  } catch (const c10::Error& e) {
    return e.what_without_backtrace();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

class Outputs : public testing::TestWithParam<std::string> {
 protected:
  Options options(OutputMode mode = OutputMode::kOwned) const {
    Options o = GetParam() == "cuda" ? cuda_options() : Options{};
    o.backend = GetParam();
    o.output_mode = mode;
    return o;
  }
  Executable build(OutputMode mode = OutputMode::kOwned) const {
    return Executable::build(program(), options(mode));
  }
  Program program() const { return Program::parse(kScaled, {{"w", w, false}, {"b", b, false}}); }
  static void expect_scaled(const Tensors& got, const at::Tensor& x, const at::Tensor& w,
                            const at::Tensor& b) {
    const at::Tensor want = x * w + b;
    ASSERT_EQ(got.size(), 2u);
    expect_close_on_device(got[0], want, "sum");
    expect_close_on_device(got[1], -want, "negative");
  }
  at::Tensor w = at::randn({40}), b = at::randn({40}), x = at::randn({3, 40});
};

TEST_P(Outputs, BorrowedOutputsEndWithTheNextReplay) {
  Executable e = build(OutputMode::kBorrowed);
  EXPECT_EQ(e.generation(), 0u);
  Tensors first = e.replay({x});
  EXPECT_EQ(e.generation(), 1u);
  expect_scaled(first, x, w, b);
  const at::Tensor view = first[0].slice(0, 1);
  const at::Tensor kept = first[1].clone();
  const at::Tensor y = at::randn({3, 40});
  const Tensors second = e.replay({y});
  EXPECT_EQ(e.generation(), 2u);
  expect_scaled(second, y, w, b);
  for (const auto& use : std::vector<std::function<void()>>{
           [&] { (void)first[0].sum(); }, [&] { (void)view.clone(); }, [&] { first[0].add_(1); },
           [&] { (void)first[0].const_data_ptr(); }}) {
    const std::string why = torch_error(use);
    EXPECT_THAT(why, HasSubstr("output 0 of 'scaled', borrowed from replay 1"));
    EXPECT_THAT(why, HasSubstr("clone"));
  }
  EXPECT_EQ(caught([&] { e.replay({first[0]}); }).code(), Code::kInvalidArgument);
  expect_close_on_device(kept, -(x * w + b), "clone");
  EXPECT_EQ(e.generation(), 2u);
}

TEST_P(Outputs, BorrowedMemoryIsTheSameEachTime) {
  Executable e = build(OutputMode::kBorrowed);
  const void* address = e.replay({x})[0].const_data_ptr();
  for (int i = 0; i < 3; ++i) {
    const Tensors out = e.replay({x});
    EXPECT_EQ(out[0].const_data_ptr(), address);
    expect_scaled(out, x, w, b);
  }
  // The caller's outputs take nothing from it.
  const Tensors lent = e.replay({x});
  Tensors own{at::full({3, 40}, 9.0), at::full({3, 40}, 9.0)};
  e.replay({at::randn({3, 40})}, own);
  expect_scaled(lent, x, w, b);
  EXPECT_EQ(e.generation(), 5u);
}

TEST_P(Outputs, BorrowedOutputsOutliveTheExecutable) {
  Tensors out;
  {
    Executable e = build(OutputMode::kBorrowed);
    out = e.replay({x});
  }
  expect_scaled(out, x, w, b);
}

TEST_P(Outputs, OwnedOutputsAreFreshMemory) {
  Executable e = build();
  const Tensors first = e.replay({x});
  const at::Tensor y = at::randn({3, 40});
  expect_scaled(e.replay({y}), y, w, b);
  expect_scaled(first, x, w, b);
  EXPECT_EQ(e.generation(), 0u);
}

TEST_P(Outputs, ReplacedWeightsAreRead) {
  Executable e = build();
  expect_scaled(e.replay({x}), x, w, b);
  for (int i = 0; i < 3; ++i) {
    at::Tensor fresh = at::randn({40});
    e.rebind_weights({{"w", fresh, false}});
    expect_scaled(e.replay({x}), x, fresh, b);
    w = fresh;
  }
  at::Tensor other = at::randn({40});
  e.rebind_weights({{"w", at::ones({40}), false}, {"b", other, false}});
  expect_scaled(e.replay({x}), x, at::ones({40}), other);
}

TEST_P(Outputs, WritesIntoWeightsAreSeen) {
  Executable e = build();
  expect_scaled(e.replay({x}), x, w, b);
  w.mul_(3);
  expect_scaled(e.replay({x}), x, w, b);
  b.zero_();
  w.slice(0, 3, 9).fill_(0.25);
  expect_scaled(e.replay({x}), x, w, b);
}

TEST_P(Outputs, WeightsThatDontFitAreRefusedAndNothingChanges) {
  Executable e = build();
  const auto refuse = [&](const std::string& name, const at::Tensor& t, const std::string& why) {
    const Error error = caught([&] {
      e.rebind_weights({{"b", at::ones({40}), false}, {name, t, false}});
    });
    EXPECT_EQ(error.code(), Code::kInvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr(why));
    expect_scaled(e.replay({x}), x, w, b);
  };
  refuse("v", at::randn({40}), "weight 'v' is none of this program's");
  refuse("w", at::randn({41}), "f32[40]");
  refuse("w", at::randn({40}, at::kDouble), "f64[40]");
  refuse("w", at::randn({41}).slice(0, 1), "at element 1 of its storage");
  refuse("w", at::randn({80}).slice(0, 0, 80, 2), "strides=[2]");
  refuse("w", at::Tensor(), "plain and dense");
}

TEST_P(Outputs, SharedWeightsAreReplacedTogether) {
  const at::Tensor all = at::randn({80});
  const Program shared = Program::parse(R"(graph shared {
  %x : f32[40] = placeholder[target=x]
  %z : f32[80] = placeholder[target=z]
  %all : f32[80] = get_attr[target=all, kind=parameter]
  %end : f32[40]{offset=40, alias=%all} = get_attr[target=end, kind=parameter]
  %mul : f32[80] = call_function[target=aten.mul.Tensor](args = (%z, %all), kwargs = {})
  %add : f32[40] = call_function[target=aten.add.Tensor](args = (%x, %end), kwargs = {alpha: 1})
  return (%mul, %add)
})",
                                        {{"all", all, false}, {"end", all.slice(0, 40), false}});
  Executable e = Executable::build(shared, options());
  const Tensors in{at::randn({40}), at::randn({80})};
  const auto expect = [&](const at::Tensor& weight) {
    const Tensors got = e.replay(in);
    expect_close_on_device(got[0], in[1] * weight, "product");
    expect_close_on_device(got[1], in[0] + weight.slice(0, 40), "sum");
  };
  expect(all);
  const at::Tensor fresh = at::randn({80});
  const Error error = caught([&] { e.rebind_weights({{"end", fresh.slice(0, 40), false}}); });
  EXPECT_EQ(error.code(), Code::kInvalidArgument);
  EXPECT_THAT(error.what(), HasSubstr("share memory"));
  expect(all);
  e.rebind_weights({{"all", fresh, false}, {"end", fresh.slice(0, 40), false}});
  expect(fresh);
}

TEST_P(Outputs, WeightsMayBeginElsewhereInTheirStorage) {
  const at::Tensor big = at::randn({100});
  const Program inner =
      Program::parse(kScaled, {{"w", big.slice(0, 3, 43), false}, {"b", b, false}});
  Executable e = Executable::build(inner, options());
  expect_scaled(e.replay({x}), x, big.slice(0, 3, 43), b);
  EXPECT_EQ(
      caught([&] {
        Executable::build(Program::parse(kScaled, {{"w", big, false}, {"b", b, false}}), options());
      }).code(),
      Code::kInvalidArgument);
}

TEST_P(Outputs, DeclaredStateIsUntouchedByBuilding) {
  const at::Tensor total = at::full({40}, 5.0);
  const Program sums = Program::parse(R"(graph sums {
  %x : f32[40] = placeholder[target=x]
  %total : f32[40] = get_attr[target=total, kind=state]
  %add_ : f32[40]{alias=%total} = call_function[target=aten.add_.Tensor, writes=(%total,)](args = (%total, %x), kwargs = {})
  %mul : f32[40] = call_function[target=aten.mul.Tensor](args = (%add_, 1), kwargs = {})
  return (%mul,)
})",
                                      {{"total", total, true}});
  Executable e = Executable::build(sums, options());
  const at::Tensor in = at::randn({40});
  for (int i = 1; i <= 3; ++i) {
    expect_close_on_device(e.replay({in})[0], 5 + i * in, "sum so far");
  }
}

TEST_P(Outputs, WeightsThatFoldingHasUsedCantBeReplaced) {
  Module module;
  module.tensors = {{"w", w, false}};
  module.forward = [this](const Tensors& in) -> Tensors { return {in[0] * (w * 2 + 1).exp()}; };
  Options o = options();
  const auto folded = std::get<Program>(Program::trace(module, {x}, o));
  Executable fixed = Executable::build(folded, o);
  const Error error = caught([&] { fixed.rebind_weights({{"w", at::randn({40}), false}}); });
  EXPECT_EQ(error.code(), Code::kInvalidState);
  EXPECT_THAT(error.what(), HasSubstr("fold_constants = false"));
  expect_close_on_device(fixed.replay({x})[0], x * (w * 2 + 1).exp(), "unchanged");
  o.fold_constants = false;
  Executable e = Executable::build(std::get<Program>(Program::trace(module, {x}, o)), o);
  const at::Tensor fresh = at::randn({40});
  e.rebind_weights({{"w", fresh, false}});
  expect_close_on_device(e.replay({x})[0], x * (fresh * 2 + 1).exp(), "replaced");
}

TEST_P(Outputs, ThreadsShareAModule) {
  Module module;
  module.tensors = {{"w", w, false}, {"b", b, false}};
  module.forward = [this](const Tensors& in) -> Tensors {
    return {at::softmax(in[0] * w + b, -1)};
  };
  CompiledModule compiled(module, options());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 12; ++i) {
        const at::Tensor in = at::randn({1 + (t + i) % 3, 40});
        const c10::InferenceMode mode;
        expect_close_on_device(compiled({in})[0], at::softmax(in * w + b, -1), "thread");
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(compiled.shape_count(), 3u);
  EXPECT_EQ(compiled.counters().replays, 48u);
}

/// Nothing of theirs is shared but the process: driver, compiler, libraries and the one capture.
TEST_P(Outputs, ThreadsHaveModulesOfTheirOwn) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Module module;
      const at::Tensor weight = at::randn({24, 40});
      module.tensors = {{"weight", weight, false}};
      module.forward = [weight](const Tensors& in) -> Tensors {
        return {std::get<0>(at::cummax(at::linear(in[0], weight), -1)), at::erf(in[0])};
      };
      for (int i = 0; i < 2; ++i) {
        CompiledModule compiled(module, options());
        for (std::int64_t rows : {5, 5, 3 + t}) {
          const at::Tensor in = at::randn({rows, 40});
          const c10::InferenceMode mode;
          const Tensors got = compiled({in});
          const Tensors want = module.forward({in});
          expect_close_on_device(got[0], want[0], "cummax");
          expect_close_on_device(got[1], want[1], "erf");
        }
      }
    });
  }
  for (std::thread& t : threads) t.join();
}

INSTANTIATE_TEST_SUITE_P(Backends, Outputs, testing::Values("host", "cuda"),
                         [](const auto& backend) { return backend.param; });

}  // namespace
}  // namespace monograph::test
