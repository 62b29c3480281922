// The wrapper's checks: declared state, the second forward, verification, guarded weights.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/compiled_module.h>

#include <algorithm>

#include "tests/session/support.h"

namespace monograph::test {
namespace {

using testing::HasSubstr;

// --- declared state ---

TEST(DeclaredState, ManyShapesShareItAndEveryCallWritesOnce) {
  const Tensor count = at::zeros({1});
  Module module;
  module.tensors = {{"step", count, true}};
  module.forward = [count](const Tensors& in) -> Tensors {
    count.add_(1);
    return {in[0] * count, count};
  };
  Options options;
  options.mutable_state = {"step"};
  CompiledModule compiled(module, options);
  for (int call = 1; call <= 9; ++call) {
    const Tensor x = at::randn({1 + call % 3});
    const Tensors got = compiled({x});
    expect_close(got[0], x * call, 1e-5, "output");
    EXPECT_EQ(count.item<float>(), static_cast<float>(call));
    EXPECT_EQ(got[1].item<float>(), static_cast<float>(call));
    EXPECT_NE(got[1].const_data_ptr(), count.const_data_ptr());
  }
  EXPECT_EQ(compiled.shape_count(), 3U);
  compiled.prepare({at::randn({7})});
  EXPECT_EQ(count.item<float>(), 9) << "compiling for another shape doesn't write";
  count.zero_();  // by the caller, between calls
  compiled({at::randn({2})});
  EXPECT_EQ(count.item<float>(), 1);
}

TEST(DeclaredState, ItsAddressIsPinned) {
  Tensor count = at::zeros({1});
  Module module;
  module.tensors = {{"step", count, true}};
  module.forward = [&count](const Tensors& in) -> Tensors {
    count.add_(1);
    return {in[0] * count};
  };
  Options options;
  options.mutable_state = {"st*p"};
  CompiledModule compiled(module, options);
  const void* address = count.const_data_ptr();
  compiled({at::randn({2})});
  compiled({at::randn({2})});
  EXPECT_EQ(count.const_data_ptr(), address);
}

TEST(DeclaredState, AnInputOnItIsRefusedByName) {
  const Tensor cache = at::zeros({4});
  Module module;
  module.tensors = {{"cache", cache, true}};
  module.input_names = {"x"};
  module.forward = [cache](const Tensors& in) -> Tensors {
    cache.add_(1);
    return {in[0] + cache.slice(0, 0, 2)};
  };
  Options options;
  options.mutable_state = {"cache"};
  CompiledModule compiled(module, options);
  for (int i = 0; i < 2; ++i) {
    const Error error = caught([&] { compiled({cache.slice(0, 1, 3)}); });
    EXPECT_EQ(error.code(), Code::kInvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr("input 0 ('x') overlaps state 'cache'"));
    EXPECT_EQ(cache.sum().item<float>(), 0);
  }
  compiled({at::randn({2})});
  EXPECT_EQ(cache.sum().item<float>(), 4);
}

/// Allocates its second cache in the first forward, which also writes it.
struct Lazy {
  Tensor there = at::zeros({2});
  Tensor late;
  Module module() {
    Module m;
    m.list_tensors = [this] {
      std::vector<NamedTensor> all = {{"cache.1", there, true}};
      if (late.defined()) all.insert(all.begin(), {"cache.0", late, true});
      return all;
    };
    m.tensors = m.list_tensors();
    m.forward = [this](const Tensors& in) -> Tensors {
      if (!late.defined()) late = at::zeros({2});
      there.add_(1);
      late.add_(in[0]);
      return {late + there};
    };
    return m;
  }
};

TEST(DeclaredState, AllocatedByForwardItIsFoundOnceItIsThere) {
  Options options;
  options.mutable_state = {"cache.*"};
  Lazy lazy;
  CompiledModule compiled(lazy.module(), options);
  const Tensor first = at::randn({2});
  const Tensors want = eager(lazy.module().forward, {first});
  expect_close(want[0], first + 1, 1e-6, "the first forward, by eager");
  Tensor sum = first;
  for (int call = 2; call <= 4; ++call) {
    const Tensor x = at::randn({2});
    sum = sum + x;
    expect_close(compiled({x})[0], sum + call, 1e-6, "output");
    expect_close(lazy.late, sum, 1e-6, "the cache that the first forward allocated");
  }
  // While it is traced, the first forward can't be told from later ones: they find what it wrote.
  Lazy cold;
  CompiledModule refused(cold.module(), options);
  EXPECT_EQ(caught([&] { refused({first}); }).code(), Code::kRejectedRebinding);
}

TEST(DeclaredState, NamesThatFitNothingAreErrors) {
  const Counting counting;
  Options options;
  options.mutable_state = {"coutn"};
  CompiledModule compiled(counting.module(), options);
  const Error error = caught([&] { compiled({at::randn({2})}); });
  EXPECT_EQ(error.code(), Code::kInvalidOption);
  EXPECT_THAT(error.what(), HasSubstr("mutable_state 'coutn' fits no tensor"));
  EXPECT_THAT(error.what(), HasSubstr("'count'"));
}

TEST(DeclaredState, StaysWhatItWasWhenForwardThrowsWhileTraced) {
  const Tensor count = at::zeros({1});
  bool fail = true;
  Module module;
  module.tensors = {{"count", count, true}};
  module.forward = [&](const Tensors& in) -> Tensors {
    count.add_(1);
    if (fail) throw std::domain_error("not today");
    return {in[0] + count};
  };
  Options options;
  options.mutable_state = {"count"};
  CompiledModule compiled(module, options);
  const Tensor x = at::randn({2});
  EXPECT_THROW(compiled({x}), std::domain_error);
  EXPECT_EQ(count.item<float>(), 0);
  fail = false;
  expect_close(compiled({x})[0], x + 1, 1e-6, "afterwards");
}

// --- borrowed outputs ---

TEST(BorrowedOutputs, FedBackTheyAreRefusedByName) {
  Module module;
  module.input_names = {"x"};
  module.forward = [](const Tensors& in) -> Tensors { return {in[0] * 2, in[0].relu()}; };
  Options options;
  options.name = "twice";
  options.output_mode = OutputMode::kBorrowed;
  CompiledModule compiled(module, options);
  const Tensor x = at::randn({3, 4});
  const Tensors first = compiled({x});
  for (const Tensor& lent : {first[0], first[1].slice(0, 0, 3)}) {
    const Error error = caught([&] { compiled({lent}); });
    EXPECT_EQ(error.code(), Code::kInvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr("input 0 ('x') is an output borrowed from"));
  }
  expect_close(first[0], x * 2, 1e-6, "a refused replay ends no borrowing");
  expect_close(compiled({first[0].clone()})[0], x * 4, 1e-6, "a clone");
  const Error ended = caught([&] { compiled({first[0]}); });
  EXPECT_EQ(ended.code(), Code::kInvalidArgument);
  EXPECT_THAT(ended.what(), HasSubstr("input 0 ('x')"));
  EXPECT_THAT(ended.what(), HasSubstr("output 0 of 'twice', borrowed from replay 1"));
}

// --- the second forward ---

TEST(SecondForward, ProbeInputsAreUsedAndChecked) {
  Module module;
  module.forward = [](const Tensors& in) -> Tensors {
    return {in[0].const_data_ptr<std::int64_t>()[0] > 100 ? in[1] * 2 : in[1] * 3};
  };
  const Tensor flag = at::zeros({1}, at::kLong);
  const Tensor x = at::randn({2});
  Options options;
  {
    CompiledModule compiled(module, options);
    expect_close(compiled({flag, x})[0], x * 3, 1e-6, "one value has no permutation");
  }
  options.probe_inputs = [](const Tensors& in) { return Tensors{in[0] + 1000, in[1]}; };
  CompiledModule probed(module, options);
  EXPECT_EQ(caught([&] { probed({flag, x}); }).code(), Code::kRejectedDataDependence);
  options.probe_inputs = [](const Tensors& in) { return Tensors{in[0]}; };
  CompiledModule wrong(module, options);
  EXPECT_THAT(caught([&] { wrong({flag, x}); }).what(), HasSubstr("expected 2 tensors, got 1"));
  options.probe_inputs = [](const Tensors& in) { return Tensors{in[0], in[1].to(at::kDouble)}; };
  CompiledModule typed(module, options);
  EXPECT_THAT(caught([&] { typed({flag, x}); }).what(), HasSubstr("tensor 1: expected f32[2]"));
}

TEST(SecondForward, AForwardThatOnlyLikesItsOwnIntegersIsStillChecked) {
  Module module;
  module.forward = [](const Tensors& in) -> Tensors {
    const auto* offsets = in[0].const_data_ptr<std::int64_t>();
    if (!std::is_sorted(offsets, offsets + in[0].numel())) throw std::domain_error("not sorted");
    return {in[1] * in[1].const_data_ptr<float>()[0]};
  };
  CompiledModule compiled(module);
  const Tensor offsets = at::arange(5);
  EXPECT_EQ(caught([&] {
              compiled({offsets, at::randn({3})});
            }).code(),
            Code::kRejectedDataDependence);
}

TEST(SecondForward, CanBeSwitchedOff) {
  const Layer layer;
  Options options;
  options.check_twice = false;
  CompiledModule compiled(layer.module(), options);
  compiled({at::randn({3, 4})});
  EXPECT_EQ(*layer.runs, 1);
}

// --- verification and guarded weights ---

TEST(Verification, RunsForwardBesideTheFirstCallsAndAtRandomAfterwards) {
  const Layer layer;
  Options options;
  options.verify_calls = 3;
  CompiledModule compiled(layer.module(), options);
  for (int i = 0; i < 10; ++i) compiled({at::randn({3, 4})});
  EXPECT_EQ(compiled.counters().verified, 3U);
  EXPECT_EQ(compiled.counters().replays, 10U);
  options.verify_rate = 0.5;
  CompiledModule random(layer.module(), options);
  for (int i = 0; i < 200; ++i) random({at::randn({3, 4})});
  EXPECT_GT(random.counters().verified, 50U);
  EXPECT_LT(random.counters().verified, 150U);
  options.verify_rate = 2;
  EXPECT_EQ(caught([&] { CompiledModule(layer.module(), options); }).code(), Code::kInvalidOption);
}

TEST(Verification, WritesStateOnce) {
  const Counting counting;
  Options options;
  options.mutable_state = {"count"};
  options.verify_calls = 2;
  CompiledModule compiled(counting.module(), options);
  for (int call = 1; call <= 4; ++call) {
    const Tensor x = at::randn({2});
    expect_close(compiled({x})[0], x + call, 1e-6, "output");
    EXPECT_EQ(counting.count.item<float>(), static_cast<float>(call));
  }
  EXPECT_EQ(compiled.counters().verified, 2U);
}

TEST(Verification, NamesTheFirstNodeThatABackEndGetsWrong) {
  Module module;
  module.forward = [](const Tensors& in) -> Tensors {
    return {at::matmul(in[0].sigmoid(), in[0].t()).tanh().sum(0)};
  };
  Options options;
  options.backend_object = Faulty::backend();
  options.verify_calls = 5;
  CompiledModule compiled(module, options);
  const Tensor x = at::randn({3, 4});
  compiled({x});
  Faulty::wrong_from = "aten.tanh.default";
  const Error error = caught([&] { compiled({at::randn({3, 4})}); });
  Faulty::wrong_from.clear();
  EXPECT_EQ(error.code(), Code::kVerification);
  EXPECT_EQ(error.node(), "tanh") << error.what();
  compiled({x});
}

TEST(Verification, NamesTheNodeOfABranchThatWasFrozen) {
  Module module;
  module.forward = [](const Tensors& in) -> Tensors {
    const Tensor y = in[0] * 2;
    return {in[0].const_data_ptr<float>()[0] > 0 ? y.relu() : y.tanh()};
  };
  Options options;
  options.check_twice = false;
  options.verify_calls = 5;
  CompiledModule compiled(module, options);
  compiled({at::full({3}, 0.5)});
  const Error error = caught([&] { compiled({at::full({3}, -0.5)}); });
  EXPECT_EQ(error.code(), Code::kVerification);
  EXPECT_EQ(error.node(), "relu") << error.what();
  EXPECT_THAT(error.what(), HasSubstr("aten.tanh.default"));
}

TEST(GuardedWeights, StrayHostWritesThrowAtTheOperator) {
  const Tensor w = at::randn({4, 4});
  const Tensor table = at::randn({4});
  Module module;
  module.tensors = {{"w", w, false}, {"table", table, true}};
  module.forward = [&](const Tensors& in) -> Tensors {
    const Tensor y = at::matmul(in[0], w);
    const Tensor z = y + table.data_ptr<float>()[0];  // asks for writable memory
    return {z * 2};
  };
  Options options;
  options.guard_weights = true;
  CompiledModule compiled(module, options);
  try {
    compiled({at::randn({2, 4})});
    FAIL() << "accepted";
  } catch (const RejectedError& e) {
    EXPECT_EQ(e.code(), Code::kRejectedMutation);
    EXPECT_EQ(e.rejection().subject, "table") << e.what();
    EXPECT_EQ(e.rejection().node, "mm") << e.what();
  }
  EXPECT_NO_THROW((void)table.data_ptr<float>()) << "the guard is gone";
}

TEST(GuardedWeights, KernelsThatOnlyReadPass) {
  const Tensor keys = at::randn({1, 2, 5, 8});
  const Tensor mean = at::randn({2});
  const Tensor variance = at::rand({2}) + 0.5;
  const Tensor w = at::randn({8, 8});
  Module module;
  module.tensors = {
      {"keys", keys, false}, {"mean", mean, true}, {"variance", variance, true}, {"w", w, false}};
  module.forward = [&](const Tensors& in) -> Tensors {
    const Tensor y = at::batch_norm(in[0], {}, {}, mean, variance, false, 0.1, 1e-5, false);
    const Tensor z = at::scaled_dot_product_attention(y, keys, keys);
    return {at::linear(z, w).softmax(-1), at::embedding(w, at::arange(3))};
  };
  Options options;
  options.guard_weights = true;
  CompiledModule compiled(module, options);
  const Tensor x = at::randn({1, 2, 3, 8});
  const Tensors want = eager(module.forward, {x});
  const Tensors got = compiled({x});
  for (std::size_t i = 0; i < want.size(); ++i) expect_close(got[i], want[i], 1e-5, "guarded");
}

}  // namespace
}  // namespace monograph::test
