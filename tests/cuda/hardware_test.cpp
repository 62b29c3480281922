// What only a real GPU and LibTorch's CUDA half can show: captures of LibTorch's own kernels,
// streams of callers, and failures on purpose. The virtual GPU has twins of these in
// faults_test.cpp and graph_test.cpp.
#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/MemPool.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>
#include <torch/library.h>

#include <atomic>
#include <cstdio>
#include <limits>
#include <memory>
#include <thread>

#include "bench/models/bert.h"
#include "runtime/cuda/backend/session.h"
#include "runtime/cuda/graph/capture_scope.h"
#include "tests/cuda/virtual_device.h"

namespace monograph::test {
namespace {

using testing::HasSubstr;
using Tensors = std::vector<at::Tensor>;

const at::Device kGpu(at::kCUDA, 0);

// ---- operators that do what captures must survive or refuse ----

at::Tensor waits(const at::Tensor& x) {
  at::Tensor y = x + 1;
  at::cuda::getCurrentCUDAStream().synchronize();
  return y;
}

at::Tensor forked(const at::Tensor& x, bool join) {
  const auto here = at::cuda::getCurrentCUDAStream();
  static const auto side = at::cuda::getStreamFromPool();
  at::cuda::CUDAEvent fork, joined;
  fork.record(here);
  fork.block(side);
  at::Tensor y = at::empty_like(x);
  {
    const c10::cuda::CUDAStreamGuard guard(side);
    at::sigmoid_out(y, x);
  }
  if (join) {
    joined.record(side);
    joined.block(here);
  }
  return y;
}
at::Tensor forks(const at::Tensor& x) {
  return forked(x, true);
}
at::Tensor leaves(const at::Tensor& x) {
  return forked(x, false);
}

TORCH_LIBRARY(monograph_test, m) {
  m.def("waits(Tensor x) -> Tensor");
  m.def("forks(Tensor x) -> Tensor");
  m.def("leaves(Tensor x) -> Tensor");
}
TORCH_LIBRARY_IMPL(monograph_test, CUDA, m) {
  m.impl("waits", &waits);
  m.impl("forks", &forks);
  m.impl("leaves", &leaves);
}

at::Tensor call(const char* name, const at::Tensor& x) {
  return c10::Dispatcher::singleton()
      .findSchemaOrThrow(name, "")
      .typed<at::Tensor(const at::Tensor&)>()
      .call(x);
}

Module module_of(ForwardFn forward) {
  Module m;
  m.forward = std::move(forward);
  return m;
}

Program trace(const Module& module, const Tensors& inputs, Options options = cuda_options()) {
  auto traced = Program::trace(module, inputs, options);
  if (auto* rejection = std::get_if<Rejection>(&traced)) {
    throw std::runtime_error(rejection->to_string());
  }
  return std::get<Program>(std::move(traced));
}

at::Tensor gpu_randn(at::IntArrayRef sizes, at::ScalarType type = at::kFloat) {
  return at::randn(sizes, at::TensorOptions().dtype(type).device(kGpu));
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

/// The device still does what it did before.
void expect_usable() {
  const at::Tensor x = gpu_randn({64, 64});
  const Program program = trace(
      module_of([](const Tensors& in) -> Tensors { return {at::cumsum(in[0].exp(), 1)}; }), {x});
  Executable e = Executable::build(program, cuda_options());
  const at::Tensor y = gpu_randn({64, 64});
  expect_close_on_device(e.replay({y})[0].cpu(), at::cumsum(y.exp(), 1).cpu(), "after a failure");
}

// ---- what the recorder relies on ----

/// Kernels that `body` enqueues on `stream`, by LibTorch's own way of capturing.
std::size_t kernels_of(const std::function<void()>& body, c10::cuda::CUDAStream stream) {
  const auto pool = at::cuda::MemPool::graph_pool_handle();
  const auto raw = stream.stream();
  c10::cuda::CUDACachingAllocator::beginAllocateToPool(0, pool,
                                                       [raw](cudaStream_t s) { return s == raw; });
  C10_CUDA_CHECK(cudaStreamBeginCapture(raw, cudaStreamCaptureModeThreadLocal));
  body();
  cudaGraph_t graph = nullptr;
  C10_CUDA_CHECK(cudaStreamEndCapture(raw, &graph));
  c10::cuda::CUDACachingAllocator::endAllocateToPool(0, pool);
  std::size_t count = 0;
  C10_CUDA_CHECK(cudaGraphGetNodes(graph, nullptr, &count));
  std::vector<cudaGraphNode_t> nodes(count);
  C10_CUDA_CHECK(cudaGraphGetNodes(graph, nodes.data(), &count));
  std::size_t kernels = 0;
  for (cudaGraphNode_t node : nodes) {
    cudaGraphNodeType type{};
    C10_CUDA_CHECK(cudaGraphNodeGetType(node, &type));
    kernels += type == cudaGraphNodeTypeKernel ? 1 : 0;
  }
  C10_CUDA_CHECK(cudaGraphDestroy(graph));
  c10::cuda::CUDACachingAllocator::releasePool(0, pool);
  return kernels;
}

/// "3" of "... library calls with 3 kernels": what the executable's library calls consist of.
std::size_t captured_kernels(const Executable& e) {
  const std::string text = e.dump("device");
  const std::string before = "library calls with ";
  const auto at = text.find(before);
  if (at == std::string::npos) throw std::runtime_error("no count in: " + text);
  return std::stoul(text.substr(at + before.size()));
}

struct Op {
  std::string name;
  std::function<at::Tensor(const at::Tensor&)> call;
  bool out_variant = true;  ///< without one, a copy to where the result belongs comes on top
};

TEST(Hardware, CapturedCallsHaveEagersKernels) {
  const c10::InferenceMode inference;
  const at::Tensor w = gpu_randn({8, 4, 3, 3});
  const std::vector<Op> ops{
      {"cumsum", [](const at::Tensor& x) { return at::cumsum(x, -1); }},
      {"sort", [](const at::Tensor& x) { return std::get<0>(at::sort(x, false, -1, false)); }},
      {"flip", [](const at::Tensor& x) { return at::flip(x, {-1}); }, false},
      {"roll", [](const at::Tensor& x) { return at::roll(x, 3, -1); }, true},
      {"avg_pool2d", [](const at::Tensor& x) { return at::avg_pool2d(x, 2); }},
      {"upsample",
       [](const at::Tensor& x) {
         return at::upsample_nearest2d(x, {32, 32});
       }},
      {"tril", [](const at::Tensor& x) { return at::tril(x); }},
      {"kthvalue", [](const at::Tensor& x) { return std::get<0>(at::kthvalue(x, 3)); }},
  };
  for (const Op& op : ops) {
    SCOPED_TRACE(op.name);
    const at::Tensor x = gpu_randn({2, 4, 16, 16});
    const Program program =
        trace(module_of([&](const Tensors& in) -> Tensors { return {op.call(in[0])}; }), {x});
    Executable e = Executable::build(program, cuda_options());
    const auto stream = at::cuda::getStreamFromPool();
    const c10::cuda::CUDAStreamGuard guard(stream);
    (void)op.call(x);
    stream.synchronize();
    const std::size_t eager = kernels_of([&] { (void)op.call(x); }, stream);
    EXPECT_GT(eager, 0u);
    // Results of calls without an out-variant are copied to where they belong by one more kernel.
    EXPECT_GE(captured_kernels(e), eager) << e.dump("graph_nodes");
    EXPECT_LE(captured_kernels(e), eager + 1) << e.dump("graph_nodes");
    const at::Tensor y = gpu_randn({2, 4, 16, 16});
    EXPECT_TRUE(at::equal(e.replay({y})[0], op.call(y)));
  }
}

TEST(Hardware, ATracedBlockReplaysAsEagerOnOtherData) {
  bench::BertConfig config;
  config.vocab_size = 100;
  config.hidden_size = 64;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.intermediate_size = 128;
  config.max_position_embeddings = 32;
  for (const auto attention : {bench::Attention::kFused, bench::Attention::kExplicit}) {
    config.attention = attention;
    bench::BertSentenceEncoder model(config);
    model->eval();
    for (auto& p : model->parameters()) p.requires_grad_(false);
    model->to(kGpu);
    const auto tokens = [] {
      const at::TensorOptions longs = at::TensorOptions().dtype(at::kLong).device(kGpu);
      return Tensors{at::randint(100, {2, 16}, longs), at::ones({2, 16}, longs)};
    };
    for (const GraphMode mode : {GraphMode::kFull, GraphMode::kNone}) {
      CompiledModule compiled(make_module<2>(model), cuda_options(mode));
      for (int i = 0; i < 3; ++i) {
        const Tensors in = tokens();
        const c10::InferenceMode inference;
        const at::Tensor want = model->forward(in[0], in[1]);
        EXPECT_TRUE(at::allclose(compiled(in)[0], want, 1e-4, 1e-5));
      }
    }
  }
}

TEST(Hardware, ForkedStreamsThatJoinAreCaptured) {
  const at::Tensor x = gpu_randn({64, 64});
  const Program program = trace(module_of([](const Tensors& in) -> Tensors {
                                  return {call("monograph_test::forks", in[0]).neg()};
                                }),
                                {x});
  Executable e = Executable::build(program, cuda_options());
  for (int i = 0; i < 20; ++i) {
    const at::Tensor y = gpu_randn({64, 64});
    EXPECT_TRUE(at::equal(e.replay({y})[0], -at::sigmoid(y)));
  }
}

/// Branches of a graph run at the same time, and LibTorch's cuBLAS has one workspace for them all.
TEST(Hardware, ProductsOnSeveralBranchesDontShareAWorkspace) {
  const auto products = [](const Tensors& in) -> Tensors {
    Tensors out;
    for (std::size_t i = 0; i + 2 < in.size(); i += 3) {
      out.push_back(at::bilinear(in[i], in[i + 1], in[i + 2], {}));
    }
    return out;
  };
  const auto draw = [] {
    Tensors in;
    for (int i = 0; i < 8; ++i) {
      in.push_back(gpu_randn({2, 3 + i}));
      in.push_back(gpu_randn({2, 4 + i}));
      in.push_back(gpu_randn({5, 3 + i, 4 + i}));
    }
    return in;
  };
  Executable first = Executable::build(trace(module_of(products), draw()), cuda_options());
  Executable second = Executable::build(trace(module_of(products), draw()), cuda_options());
  for (int replay = 0; replay < 20; ++replay) {
    const Tensors in = draw();
    const auto side = at::cuda::getStreamFromPool();
    Tensors others;
    {
      at::cuda::CUDAEvent drawn;
      drawn.record();
      drawn.block(side);
      const c10::cuda::CUDAStreamGuard guard(side);
      others = second.replay(in);
    }
    const Tensors got = first.replay(in);
    side.synchronize();
    const Tensors want = products(in);
    for (std::size_t i = 0; i < want.size(); ++i) {
      EXPECT_TRUE(at::allclose(got[i], want[i], 1e-4, 1e-4)) << replay << ' ' << i;
      EXPECT_TRUE(at::allclose(others[i], want[i], 1e-4, 1e-4)) << replay << ' ' << i;
    }
  }
}

/// Its variant with a given result first makes that as large as its input: it isn't used.
TEST(Hardware, AReductionThatResizesItsResultIsCalledPlainly) {
  const auto draw = [] {
    return Tensors{at::sigmoid(gpu_randn({64, 3})), at::sigmoid(gpu_randn({64, 3}))};
  };
  const auto losses = [](const Tensors& in) -> Tensors {
    const auto loss = [&](at::Reduction::Reduction r) {
      return at::binary_cross_entropy(in[0], in[1], {}, r);
    };
    return {loss(at::Reduction::Mean), loss(at::Reduction::Sum), loss(at::Reduction::None)};
  };
  Executable e = Executable::build(trace(module_of(losses), draw()), cuda_options());
  for (int i = 0; i < 3; ++i) {
    const Tensors in = draw();
    const Tensors got = e.replay(in);
    const Tensors want = losses(in);
    for (std::size_t k = 0; k < want.size(); ++k) {
      EXPECT_TRUE(at::allclose(got[k], want[k], 1e-5, 1e-6)) << k;
    }
  }
}

TEST(Hardware, ReplaysFollowTheCallersStream) {
  const at::Tensor x = gpu_randn({1 << 20});
  const Program program =
      trace(module_of([](const Tensors& in) -> Tensors { return {in[0] * 2 + 1}; }), {x});
  Executable e = Executable::build(program, cuda_options());
  for (int i = 0; i < 20; ++i) {
    const auto stream = at::cuda::getStreamFromPool();
    const c10::cuda::CUDAStreamGuard guard(stream);
    // Nothing waits: order comes from the stream alone.
    const at::Tensor y = gpu_randn({1 << 20});
    const at::Tensor busy = gpu_randn({1024, 1024}).mm(gpu_randn({1024, 1024})).sum() * 0;
    const at::Tensor in = y + busy;
    EXPECT_TRUE(at::allclose(e.replay({in})[0], y * 2 + 1, 1e-6, 1e-6));
  }
}

// ---- failures on purpose ----

TEST(HardwareFailures, ASynchronisingCallIsRefusedByName) {
  for (const auto& [name, hint] : std::vector<std::pair<std::string, std::string>>{
           {"waits", "waits"}, {"leaves", "unjoined"}}) {
    SCOPED_TRACE(name);
    const std::string full = "monograph_test::" + name;
    const at::Tensor x = gpu_randn({8, 8});
    const Program program = trace(
        module_of([&](const Tensors& in) -> Tensors { return {call(full.c_str(), in[0])}; }), {x});
    const Error e = caught([&] { Executable::build(program, cuda_options()); });
    EXPECT_EQ(e.code(), Code::kDeviceCaptureFailed) << e.what();
    EXPECT_THAT(e.what(), HasSubstr(hint));
    EXPECT_FALSE(e.node().empty());
    expect_usable();
  }
}

/// Thrust waits in a capture and throws what is no error of LibTorch's; the driver has destroyed
/// the graph by then.
TEST(HardwareFailures, WhatThrustThrowsIsAnErrorByName) {
  const at::Tensor x = gpu_randn({2, 5000});  // rows of up to 2,048 are sorted without Thrust
  const Program program = trace(
      module_of([](const Tensors& in) -> Tensors { return {std::get<0>(at::mode(in[0]))}; }), {x});
  testing::internal::CaptureStderr();
  const Error e = caught([&] { Executable::build(program, cuda_options()); });
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::Not(HasSubstr("could not be released")));
  EXPECT_EQ(e.code(), Code::kDeviceCaptureFailed) << e.what();
  EXPECT_THAT(e.what(), HasSubstr("aten.mode.default"));
  EXPECT_EQ(e.node(), "mode");
  expect_usable();
}

TEST(HardwareFailures, OutOfMemoryWhileBuildingSaysHowMuch) {
  constexpr std::size_t kLeave = std::size_t{192} << 20;
  const at::Tensor x = gpu_randn({1 << 20});
  // Two results of 512 MiB each between three nodes that can't be fused into one.
  const Program program = trace(module_of([](const Tensors& in) -> Tensors {
                                  const at::Tensor wide = in[0].repeat({128});
                                  return {at::cumsum(wide.cumsum(0), 0).sum()};
                                }),
                                {x});
  c10::cuda::CUDACachingAllocator::emptyCache();
  std::size_t free = 0, total = 0;
  C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  void* hog = nullptr;
  C10_CUDA_CHECK(cudaMalloc(&hog, free - kLeave));
  const Error e = caught([&] { Executable::build(program, cuda_options()); });
  C10_CUDA_CHECK(cudaFree(hog));
  EXPECT_EQ(e.code(), Code::kDeviceOutOfMemory) << e.what();
  EXPECT_THAT(e.what(), HasSubstr("f32[1048576]"));
  EXPECT_THAT(e.what(), testing::ContainsRegex("[0-9]+ of [0-9]+ bytes of device memory are free"));
  Executable fits = Executable::build(program, cuda_options());
  EXPECT_TRUE(fits.replay({x})[0].isfinite().item<bool>());
}

TEST(HardwareFailures, TwoThreadsCaptureWhileAThirdAllocates) {
  constexpr int kBuilds = 6;
  std::vector<Program> programs;
  for (const std::int64_t n : {48, 80}) {
    programs.push_back(trace(module_of([](const Tensors& in) -> Tensors {
                               return {
                                   std::get<0>(at::sort(in[0].exp().cumsum(1), false, 1, false))};
                             }),
                             {gpu_randn({n, n})}));
  }
  std::atomic<bool> stop = false;
  std::atomic<int> wrong = 0;
  std::thread noise([&] {
    while (!stop) {
      const at::Tensor t = gpu_randn({257, 33});
      if (!(t * t).sum().isfinite().item<bool>()) ++wrong;
      c10::cuda::CUDACachingAllocator::emptyCache();
    }
  });
  std::vector<std::thread> builders;
  for (std::size_t t = 0; t < programs.size(); ++t) {
    builders.emplace_back([&, t] {
      const std::int64_t n = t == 0 ? 48 : 80;
      for (int i = 0; i < kBuilds; ++i) {
        try {
          const c10::InferenceMode inference;
          Executable e = Executable::build(programs[t], cuda_options());
          const at::Tensor x = gpu_randn({n, n});
          if (!at::allclose(e.replay({x})[0], x.exp().cumsum(1))) ++wrong;
        } catch (const std::exception& error) {
          ++wrong;
          std::fprintf(stderr, "%s\n", error.what());
        }
      }
    });
  }
  for (std::thread& b : builders) b.join();
  stop = true;
  noise.join();
  EXPECT_EQ(wrong, 0);
}

TEST(HardwareFailures, DestructionWaitsForWorkInFlight) {
  const at::Tensor x = gpu_randn({4096, 4096}, at::kHalf) / 64;
  const Program program = trace(module_of([](const Tensors& in) -> Tensors {
                                  at::Tensor y = in[0];
                                  for (int i = 0; i < 12; ++i) y = at::mm(y, in[0]);
                                  return {y};
                                }),
                                {x});
  Tensors want{Executable::build(program, cuda_options()).replay({x})[0]};
  for (int i = 0; i < 3; ++i) {
    Tensors out{at::full_like(x, std::numeric_limits<double>::quiet_NaN())};
    {
      Executable e = Executable::build(program, cuda_options());
      for (int r = 0; r < 4; ++r) e.replay({x}, out);
    }
    // The memory of the executable may be somebody else's now.
    const at::Tensor other = at::full({64 << 20}, 7.0F, at::TensorOptions().device(kGpu));
    EXPECT_TRUE(at::equal(out[0], want[0]));
    EXPECT_TRUE(other.eq(7).all().item<bool>());
  }
}

/// In a child process: reads far outside a table, then tries to go on. Prints what it was told.
[[noreturn]] void read_out_of_bounds() {
  const at::Tensor table = gpu_randn({16, 8});
  const at::TensorOptions longs = at::TensorOptions().dtype(at::kLong).device(kGpu);
  const at::Tensor good = at::zeros({4}, longs);
  const at::Tensor bad = at::full({4}, std::int64_t{1} << 40, longs);
  const Program program = trace(module_of([](const Tensors& in) -> Tensors {
                                  return {at::index_select(in[0].neg(), 0, in[1])};
                                }),
                                {table, good});
  auto e = std::make_unique<Executable>(Executable::build(program, cuda_options()));
  (void)e->replay({table, good});
  int poisoned = 0;
  for (int i = 0; i < 4; ++i) {
    try {
      (void)e->replay({table, i == 0 ? bad : good});
      if (cudaDeviceSynchronize() == cudaSuccess) std::fprintf(stderr, "nothing happened\n");
    } catch (const Error& error) {
      std::fprintf(stderr, "%s\n", error.what());
      poisoned += error.code() == Code::kDevicePoisoned ? 1 : 0;
    }
  }
  try {
    (void)Executable::build(program, cuda_options());
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    poisoned += error.code() == Code::kDevicePoisoned ? 1 : 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "other: %s\n", error.what());
  }
  e.reset();
  std::fprintf(stderr, "told %d times\n", poisoned);
  std::_Exit(poisoned >= 2 ? 0 : 1);
}

TEST(HardwareFailuresDeathTest, AKernelFaultPoisonsTheProcessAndSaysSo) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(read_out_of_bounds(), testing::ExitedWithCode(0),
              "DevicePoisoned: .*restart the process");
}

}  // namespace
}  // namespace monograph::test
