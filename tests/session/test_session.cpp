// CompiledModule: modes, shape keys, refusals, threads, counters, dumps.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/compiled_module.h>

#include <atomic>
#include <barrier>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/host/support.h"

namespace monograph::test {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

/// relu(x w + b) with a count of how often forward ran.
struct Layer {
  at::Tensor w = at::randn({4, 5});
  at::Tensor b = at::randn({5});
  std::shared_ptr<std::atomic<int>> runs = std::make_shared<std::atomic<int>>(0);

  Tensors operator()(const Tensors& in) const {
    ++*runs;
    return {at::relu(at::matmul(in[0], w) + b)};
  }
  Module module() const {
    Module m;
    m.forward = *this;
    m.tensors = {{"w", w, false}, {"b", b, false}};
    m.input_names = {"x"};
    return m;
  }
  at::Tensor want(const at::Tensor& x) const { return at::relu(at::matmul(x, w) + b); }
};

Options with_mode(Mode mode) {
  Options options;
  options.mode = mode;
  return options;
}

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

TEST(Session, FirstCallCompilesLaterCallsReplay) {
  const Layer layer;
  CompiledModule compiled(layer.module());
  EXPECT_FALSE(compiled.compiled());
  EXPECT_EQ(compiled.shape_count(), 0U);
  for (int i = 0; i < 5; ++i) {
    const at::Tensor x = at::randn({3, 4});
    expect_close(compiled({x})[0], layer.want(x), 1e-5, "call");
  }
  EXPECT_TRUE(compiled.compiled());
  EXPECT_EQ(compiled.shape_count(), 1U);
  const CallCounters counters = compiled.counters();
  EXPECT_EQ(counters.calls, 5U);
  EXPECT_EQ(counters.traces, 1U);
  EXPECT_EQ(counters.compiles, 1U);
  EXPECT_EQ(counters.replays, 5U);
  const int runs = *layer.runs;
  compiled({at::randn({3, 4})});
  EXPECT_EQ(*layer.runs, runs) << "a later call ran forward";
}

TEST(Session, OneExecutablePerShapeKey) {
  const Layer layer;
  CompiledModule compiled(layer.module());
  for (int round = 0; round < 3; ++round) {
    for (const std::int64_t rows : {1, 2, 7, 0}) {
      const at::Tensor x = at::randn({rows, 4});
      expect_close(compiled({x})[0], layer.want(x), 1e-5, "rows");
    }
    const at::Tensor strided = at::randn({4, 2}).t();
    expect_close(compiled({strided})[0], layer.want(strided), 1e-5, "strided");
  }
  EXPECT_EQ(compiled.shape_count(), 5U);
  EXPECT_EQ(compiled.counters().traces, 5U);
}

TEST(Session, StridesThatDontMatterDontRetrace) {
  const Layer layer;
  CompiledModule compiled(layer.module());
  const at::Tensor x = at::randn({4});
  for (const std::int64_t stride : {4, 1, 99}) {
    const at::Tensor row = x.as_strided({1, 4}, {stride, 1});
    expect_close(compiled({row})[0], layer.want(row), 1e-5, "row");
  }
  EXPECT_EQ(compiled.counters().traces, 1U);
}

TEST(Session, IntoTheCallersOutputs) {
  const Layer layer;
  CompiledModule compiled(layer.module());
  Tensors out = {at::full({3, 5}, 9.0)};
  const void* address = out[0].const_data_ptr();
  for (int i = 0; i < 3; ++i) {
    const at::Tensor x = at::randn({3, 4});
    compiled({x}, out);
    expect_close(out[0], layer.want(x), 1e-5, "into");
  }
  EXPECT_EQ(out[0].const_data_ptr(), address);
}

TEST(Session, ModeNoneIsAnErrorAtConstruction) {
  const Layer layer;
  const Error error = caught([&] { CompiledModule(layer.module(), with_mode(Mode::kNone)); });
  EXPECT_EQ(error.code(), Code::kInvalidOption);
  EXPECT_THAT(error.what(), HasSubstr("Mode::kNone"));
  EXPECT_EQ(caught([] { CompiledModule(Module{}); }).code(), Code::kInvalidArgument);
}

TEST(Session, AnUnknownBackendIsAnErrorAtConstruction) {
  const Layer layer;
  Options options;
  options.backend = "abacus";
  const Error error = caught([&] { CompiledModule(layer.module(), options); });
  EXPECT_EQ(error.code(), Code::kInvalidOption);
  EXPECT_THAT(error.what(), HasSubstr("unknown back end 'abacus'"));
}

TEST(Session, TraceOnceHasOneShape) {
  const Layer layer;
  CompiledModule compiled(layer.module(), with_mode(Mode::kTraceOnce));
  const at::Tensor x = at::randn({3, 4});
  expect_close(compiled({x})[0], layer.want(x), 1e-5, "first");
  const Error error = caught([&] { compiled({at::randn({2, 4})}); });
  EXPECT_EQ(error.code(), Code::kInvalidArgument);
  EXPECT_THAT(error.what(),
              HasSubstr("input 0 ('x'): expected f32[3,4] on cpu, got f32[2,4] on cpu"));
  EXPECT_EQ(compiled.counters().traces, 1U);
  expect_close(compiled({x})[0], layer.want(x), 1e-5, "after the error");
}

TEST(Session, StockRetracesWhenAGuardFails) {
  Layer layer;
  CompiledModule compiled(layer.module(), with_mode(Mode::kStock));
  const at::Tensor x = at::randn({3, 4});
  compiled({x});
  compiled({x});
  EXPECT_EQ(compiled.counters().traces, 1U);
  compiled({at::randn({2, 4})});
  EXPECT_EQ(compiled.counters().traces, 2U) << "another shape";
  {
    const c10::NoGradGuard no_grad;
    compiled({x});
    EXPECT_EQ(compiled.counters().traces, 3U) << "another grad mode";
  }
  layer.b.add_(1);
  expect_close(compiled({x})[0], layer.want(x), 1e-5, "after a weight changed");
  EXPECT_EQ(compiled.counters().traces, 4U) << "a weight changed";
  compiled({x});
  EXPECT_EQ(compiled.counters().traces, 4U);
}

TEST(Session, UnusableInputsAreRefusedAndChangeNothing) {
  const Layer layer;
  CompiledModule compiled(layer.module());
  EXPECT_THAT(caught([&] { compiled({at::Tensor()}); }).what(), HasSubstr("input 0"));
  const at::Tensor x = at::randn({3, 4});
  compiled({x});
  EXPECT_THAT(caught([&] { compiled({at::Tensor()}); }).what(), HasSubstr("input 0 ('x')"));
  EXPECT_EQ(caught([&] {
              compiled({at::randn({3, 4}).requires_grad_()});
            }).code(),
            Code::kInvalidArgument);
  EXPECT_EQ(compiled.counters().compiles, 1U);
  expect_close(compiled({x})[0], layer.want(x), 1e-5, "after refusals");
}

TEST(Session, AnExceptionInForwardPassesThrough) {
  bool fail = true;
  Module module;
  module.forward = [&](const Tensors& in) -> Tensors {
    const at::Tensor y = in[0] * 2;
    if (fail) throw std::domain_error("not today");
    return {y + 1};
  };
  CompiledModule compiled(std::move(module));
  const at::Tensor x = at::randn({3});
  EXPECT_THROW(compiled({x}), std::domain_error);
  EXPECT_THROW(compiled({x}), std::domain_error);
  EXPECT_FALSE(compiled.compiled());
  EXPECT_EQ(compiled.counters().traces, 2U);
  fail = false;
  expect_close(compiled({x})[0], x * 2 + 1, 1e-6, "afterwards");
  expect_close(x * 3, x + x + x, 1e-6, "eager afterwards");
}

TEST(Session, ARejectionIsRememberedPerShape) {
  int runs = 0;
  at::Tensor counter = at::zeros({1});
  Module module;
  module.tensors = {{"counter", counter, true}};
  module.forward = [&](const Tensors& in) -> Tensors {
    ++runs;
    if (in[0].size(0) == 2) counter.add_(1);
    return {in[0] + counter};
  };
  CompiledModule compiled(std::move(module));
  const at::Tensor bad = at::randn({2});
  const at::Tensor good = at::randn({3});
  std::string reason;
  for (int i = 0; i < 3; ++i) {
    try {
      compiled({bad});
      FAIL() << "accepted";
    } catch (const RejectedError& e) {
      EXPECT_EQ(e.code(), Code::kRejectedMutation) << e.what();
      EXPECT_EQ(e.rejection().subject, "counter");
      if (i > 0) {
        EXPECT_EQ(e.what(), reason);
      }
      reason = e.what();
    }
    compiled({good});
  }
  EXPECT_EQ(compiled.counters().traces, 2U);
  EXPECT_EQ(compiled.shape_count(), 1U);
}

TEST(Session, NestedWrappersAreRefused) {
  const Layer layer;
  auto inner = std::make_shared<CompiledModule>(layer.module());
  const at::Tensor x = at::randn({3, 4});
  (*inner)({x});
  Module outer;
  outer.forward = [inner](const Tensors& in) { return (*inner)(in); };
  CompiledModule compiled(std::move(outer));
  const Error error = caught([&] { compiled({x}); });
  EXPECT_EQ(error.code(), Code::kInvalidState);
  EXPECT_THAT(error.what(), HasSubstr("that is being traced"));
  expect_close((*inner)({x})[0], layer.want(x), 1e-5, "the inner wrapper afterwards");
}

TEST(Session, PrepareCompilesWithoutReplaying) {
  const Layer layer;
  CompiledModule compiled(layer.module());
  const at::Tensor x = at::randn({3, 4});
  Executable& executable = compiled.prepare({x});
  EXPECT_EQ(compiled.counters().replays, 0U);
  EXPECT_EQ(compiled.counters().compiles, 1U);
  EXPECT_EQ(&compiled.prepare({x}), &executable);
  expect_close(executable.replay({x})[0], layer.want(x), 1e-5, "through the executable");
}

TEST(Session, MovedFromIsAnError) {
  const Layer layer;
  CompiledModule first(layer.module());
  CompiledModule second = std::move(first);
  const at::Tensor x = at::randn({3, 4});
  EXPECT_EQ(caught([&] { first({x}); }).code(), Code::kInvalidState);  // NOLINT
  EXPECT_FALSE(first.compiled());                                      // NOLINT
  expect_close(second({x})[0], layer.want(x), 1e-5, "moved to");
}

TEST(Session, FlatForwardChecksItsCount) {
  Module module;
  module.forward = flat_forward<2>([](const at::Tensor& a, const at::Tensor& b) {
    return std::tuple(a + b, std::vector<at::Tensor>{a - b, a * b});
  });
  CompiledModule compiled(std::move(module));
  const at::Tensor a = at::randn({3});
  const at::Tensor b = at::randn({3});
  const Tensors got = compiled({a, b});
  ASSERT_EQ(got.size(), 3U);
  expect_close(got[0], a + b, 0, "sum");
  expect_close(got[1], a - b, 0, "difference");
  expect_close(got[2], a * b, 0, "product");
  EXPECT_THAT(caught([&] { compiled({a}); }).what(), HasSubstr("forward takes 2 inputs, got 1"));
}

TEST(Session, DumpsGoToFoldersOfTheirOwn) {
  const fs::path root = fs::temp_directory_path() / fs::path("monograph_session_dump");
  fs::remove_all(root);
  const Layer layer;
  Options options;
  options.dump_path = root.string();
  options.name = "layer/one";
  for (int i = 0; i < 2; ++i) {
    CompiledModule compiled(layer.module(), options);
    compiled({at::randn({3, 4})});
    compiled({at::randn({2, 4})});
  }
  std::vector<std::string> folders;
  for (const auto& entry : fs::directory_iterator(root / "layer_one")) {
    folders.push_back(entry.path().filename().string());
    EXPECT_TRUE(fs::exists(entry.path() / "transformed_code.py"));
    EXPECT_TRUE(fs::exists(entry.path() / "plan.txt"));
    EXPECT_TRUE(fs::exists(entry.path() / "dump.json"));
    EXPECT_TRUE(fs::exists(entry.path() / "index.html"));
  }
  EXPECT_THAT(folders,
              testing::UnorderedElementsAre("f32_3x4", "f32_2x4", "f32_3x4-2", "f32_2x4-2"));
  fs::remove_all(root);
}

TEST(Session, ADumpThatFailsDoesNoHarm) {
  const fs::path file = fs::temp_directory_path() / "monograph_session_file";
  std::ofstream(file) << "not a folder";
  const Layer layer;
  Options options;
  options.dump_path = (file / "below").string();
  CompiledModule compiled(layer.module(), options);
  const at::Tensor x = at::randn({3, 4});
  expect_close(compiled({x})[0], layer.want(x), 1e-5, "without a dump");
  fs::remove(file);
}

TEST(Session, ManyThreadsShareOneWrapper) {
  const Layer layer;
  CompiledModule compiled(layer.module());
  constexpr int kThreads = 8;
  std::barrier start(kThreads);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      start.arrive_and_wait();
      for (int i = 0; i < 40; ++i) {
        const at::Tensor x = at::randn({1 + (t + i) % 3, 4});
        const at::Tensor got = compiled({x})[0];
        if (!at::allclose(got, layer.want(x), 1e-5, 1e-5)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  const CallCounters counters = compiled.counters();
  EXPECT_EQ(counters.calls, 320U);
  EXPECT_EQ(counters.replays, 320U);
  EXPECT_EQ(counters.traces, 3U) << "first calls compile once per shape";
  EXPECT_EQ(compiled.shape_count(), 3U);
}

TEST(Session, WrappersOfOtherThreadsCompileOneAfterTheOther) {
  constexpr int kThreads = 4;
  std::barrier start(kThreads);
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      const Layer layer;
      CompiledModule compiled(layer.module());
      start.arrive_and_wait();
      const at::Tensor x = at::randn({3, 4});
      try {
        if (!at::allclose(compiled({x})[0], layer.want(x), 1e-5, 1e-5)) ++failures;
      } catch (const std::exception& e) {
        ADD_FAILURE() << e.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

}  // namespace
}  // namespace monograph::test
