// One wrapper, many threads. Meant for ThreadSanitizer as well.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <monograph/compiled_module.h>

#include <atomic>
#include <barrier>
#include <chrono>
#include <functional>
#include <thread>

namespace monograph::test {
namespace {

using at::Tensor;
using Tensors = std::vector<Tensor>;

constexpr int kThreads = 6;

/// Runs `body(thread)` on all threads at once; exceptions are failures.
void together(const std::function<void(int)>& body) {
  std::barrier start(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      start.arrive_and_wait();
      try {
        body(t);
      } catch (const std::exception& e) {
        ADD_FAILURE() << e.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

/// Doubles, but for inputs of two rows, where it writes its buffer.
struct Partly {
  Tensor w = at::randn({4, 4});
  Tensor count = at::zeros({1});
  std::shared_ptr<std::atomic<int>> runs = std::make_shared<std::atomic<int>>(0);

  Module module() const {
    Module m;
    m.tensors = {{"w", w, false}, {"count", count, true}};
    m.forward = [w = w, count = count, runs = runs](const Tensors& in) -> Tensors {
      ++*runs;
      if (in[0].size(0) == 2) count.add_(1);
      return {at::matmul(in[0], w) + 1};
    };
    return m;
  }
  bool right(const Tensor& x, const Tensor& got) const {
    return at::allclose(got, at::matmul(x, w) + 1, 1e-5, 1e-5);
  }
};

TEST(Threads, FirstCallsRaceAndCompileOnce) {
  const Partly layer;
  CompiledModule compiled(layer.module());
  std::atomic<int> wrong = 0;
  together([&](int t) {
    for (int i = 0; i < 20; ++i) {
      const Tensor x = at::randn({3 + (t + i) % 3, 4});
      if (!layer.right(x, compiled({x})[0])) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(compiled.counters().traces, 3U);
  EXPECT_EQ(compiled.counters().compiles, 3U);
  EXPECT_EQ(compiled.counters().replays, kThreads * 20U);
  EXPECT_EQ(compiled.counters().eager, 0U);
}

TEST(Threads, FirstCallsMayRunEagerlyInstead) {
  const Partly layer;
  Module module = layer.module();
  std::atomic<bool> inside = false;
  std::atomic<bool> go_on = false;
  module.forward = [forward = module.forward, &inside, &go_on](const Tensors& in) {
    // The first forward, which is traced, lets the other threads have a call.
    if (!inside.exchange(true)) {
      while (!go_on) std::this_thread::yield();
    }
    return forward(in);
  };
  Options options;
  options.first_call = FirstCall::kEager;
  CompiledModule compiled(std::move(module), options);
  std::atomic<int> wrong = 0;
  std::atomic<int> done = 0;
  together([&](int t) {
    if (t != 0) {
      while (!inside) std::this_thread::yield();
    }
    const Tensor x = at::randn({3, 4});
    if (!layer.right(x, compiled({x})[0])) ++wrong;
    if (t != 0 && ++done == kThreads - 1) go_on = true;
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(compiled.counters().eager, kThreads - 1U) << "all but the one that compiled";
  EXPECT_EQ(compiled.counters().traces, 1U);
  const Tensor x = at::randn({3, 4});
  EXPECT_TRUE(layer.right(x, compiled({x})[0]));
  EXPECT_EQ(compiled.counters().replays, 2U);
}

TEST(Threads, RejectionsRaceWithSuccesses) {
  const Partly layer;
  CompiledModule compiled(layer.module());
  std::atomic<int> wrong = 0;
  std::atomic<int> rejected = 0;
  together([&](int t) {
    for (int i = 0; i < 20; ++i) {
      const std::int64_t rows = 1 + (t + i) % 3;
      const Tensor x = at::randn({rows, 4});
      try {
        if (!layer.right(x, compiled({x})[0]) || rows == 2) ++wrong;
      } catch (const RejectedError& e) {
        if (rows != 2 || e.rejection().subject != "count") ++wrong;
        ++rejected;
        if (!compiled.rejection({x})) ++wrong;
      }
    }
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(rejected, kThreads * 20 / 3);
  EXPECT_EQ(compiled.counters().traces, 3U);
  EXPECT_EQ(compiled.shape_count(), 2U);
  EXPECT_EQ(layer.count.item<float>(), 0);
}

TEST(Threads, RejectedShapesRunEagerlyBesideReplays) {
  const Partly layer;
  Options options;
  options.on_reject = OnReject::kEager;
  CompiledModule compiled(layer.module(), options);
  std::atomic<int> wrong = 0;
  together([&](int t) {
    for (int i = 0; i < 12; ++i) {
      // Only one thread writes the buffer: eager forwards on many would race as they always do.
      const Tensor x = at::randn({t == 0 ? 2 : 3, 4});
      if (!layer.right(x, compiled({x})[0])) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(layer.count.item<float>(), 12);
  EXPECT_EQ(compiled.counters().eager, 12U);
}

TEST(Threads, DeclaredStateIsWrittenOncePerCall) {
  const Tensor count = at::zeros({1}, at::kLong);
  Module module;
  module.tensors = {{"count", count, true}};
  module.forward = [count](const Tensors& in) -> Tensors {
    count.add_(1);
    return {in[0] * 2, count + 0};
  };
  Options options;
  options.mutable_state = {"count"};
  options.first_call = FirstCall::kEager;  // with state a call waits all the same
  CompiledModule compiled(std::move(module), options);
  std::atomic<std::int64_t> sum = 0;
  together([&](int t) {
    for (int i = 0; i < 20; ++i)
      sum += compiled({at::randn({1 + (t + i) % 3})})[1].item<std::int64_t>();
  });
  constexpr std::int64_t kCalls = kThreads * 20;
  EXPECT_EQ(count.item<std::int64_t>(), kCalls);
  EXPECT_EQ(sum, kCalls * (kCalls + 1) / 2) << "every call saw a step of its own";
  EXPECT_EQ(compiled.counters().eager, 0U);
}

/// A replay of one shape while another shape's forward, which has written the state, is traced.
TEST(Threads, AReplayWaitsUntilATraceHasPutStateBack) {
  const Tensor count = at::zeros({1}, at::kLong);
  std::atomic<bool> inside = false;
  std::atomic<bool> calling = false;
  Module module;
  module.tensors = {{"count", count, true}};
  module.forward = [&, count](const Tensors& in) -> Tensors {
    count.add_(1);
    if (in[0].size(0) == 2 && !inside.exchange(true)) {
      while (!calling) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::milliseconds(100));  // the other one's chance
    }
    return {in[0] * 2, count + 0};
  };
  Options options;
  options.mutable_state = {"count"};
  CompiledModule compiled(std::move(module), options);
  compiled({at::randn({1})});
  std::int64_t traced = 0;
  std::thread tracing([&] {
    try {
      traced = compiled({at::randn({2})})[1].item<std::int64_t>();
    } catch (const std::exception& e) {
      ADD_FAILURE() << e.what();
    }
  });
  while (!inside) std::this_thread::yield();
  calling = true;
  const auto replayed = compiled({at::randn({1})})[1].item<std::int64_t>();
  tracing.join();
  EXPECT_EQ(count.item<std::int64_t>(), 3);
  EXPECT_EQ(replayed + traced, 2 + 3) << "each call saw a step of its own";
}

TEST(Threads, GuardsAndCallbacksOnManyThreads) {
  const Partly layer;
  Options options;
  options.mode = Mode::kStock;
  CompiledModule compiled(layer.module(), options);
  std::atomic<int> wrong = 0;
  std::atomic<int> told = 0;
  together([&](int t) {
    compiled.on_transformed([&told](const Program&) { ++told; });
    for (int i = 0; i < 10; ++i) {
      const c10::AutoGradMode mode((t + i) % 2 == 0);
      const Tensor x = at::randn({3, 4});
      if (!layer.right(x, compiled({x})[0])) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(compiled.counters().traces, 2U) << "once with and once without gradients";
  EXPECT_LE(told, 2 * kThreads);
}

TEST(Threads, ManyWrappersCompileOneAfterTheOther) {
  std::atomic<int> wrong = 0;
  together([&](int) {
    const Partly layer;
    CompiledModule compiled(layer.module());
    compiled.prepare({at::randn({5, 4})});
    const Tensor x = at::randn({5, 4});
    if (!layer.right(x, compiled({x})[0])) ++wrong;
  });
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace monograph::test
