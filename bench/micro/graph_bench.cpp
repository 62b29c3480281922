// Cost of building and replaying graphs, ours alone: on the virtual GPU with a device that does
// nothing, beside the same driver calls made directly.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <new>

#include "runtime/cuda/graph/params.h"
#include "runtime/cuda/graph/plan_graph.h"

namespace {

std::atomic<std::int64_t> live_bytes{0};

struct Header {
  std::size_t size;
  std::size_t unused;  // keeps the alignment
};

}  // namespace

// Counts the heap of this program, the driver's included.
void* operator new(std::size_t size) {
  auto* p = static_cast<Header*>(std::malloc(size + sizeof(Header)));
  if (p == nullptr) throw std::bad_alloc();
  p->size = size;
  live_bytes += static_cast<std::int64_t>(size);
  return p + 1;
}
void operator delete(void* p) noexcept {
  if (p == nullptr) return;
  Header* h = static_cast<Header*>(p) - 1;
  live_bytes -= static_cast<std::int64_t>(h->size);
  std::free(h);
}
void operator delete(void* p, std::size_t) noexcept {
  operator delete(p);
}

namespace monograph::cuda {
namespace {

constexpr int kParams = 6;  // a typical kernel: five addresses and a number

class Device {
 public:
  Device()
      : driver_(Driver::open(library())), context_(Context::retain(driver_)), current_(*context_) {
    set("null_device", 1);
    const std::size_t sizes[kParams] = {8, 8, 8, 8, 8, 4};
    using Add =
        int (*)(const char*, int (*)(void**, void*), void*, const std::size_t*, std::size_t);
    reinterpret_cast<Add>(driver_.extension("vgpu_register_host_kernel"))(
        "bench", [](void**, void*) { return 0; }, nullptr, sizes, kParams);
    const char image[] = "vgpu-host:bench";
    library_ = Library::load(context_, std::as_bytes(std::span(image)));
    kernel_ = library_.kernel("bench");
    stream_ = Stream::create(context_);
  }
  const Driver& driver() const { return driver_; }
  const ContextRef& context() const { return context_; }
  const Kernel& kernel() const { return kernel_; }
  CUstream stream() const { return stream_.get(); }

 private:
  static std::string library() {
    namespace fs = std::filesystem;
    return (fs::read_symlink("/proc/self/exe").parent_path().parent_path() / "lib/libvgpu.so");
  }
  void set(const char* option, std::uint64_t value) {
    using Set = int (*)(const char*, std::uint64_t);
    reinterpret_cast<Set>(driver_.extension("vgpu_set"))(option, value);
  }
  const Driver& driver_;
  ContextRef context_;
  CurrentContext current_;
  Library library_;
  Kernel kernel_;
  Stream stream_;
};

Device& device() {
  static Device d;
  return d;
}

template <class T>
ParamValue scalar(T value) {
  std::vector<std::byte> bytes(sizeof(T));
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

/// `nodes` kernels in a chain with a second edge here and there; the first `readers` read inputs.
std::vector<Work> chain(std::size_t nodes, std::size_t inputs, std::size_t readers) {
  std::vector<Work> works;
  for (std::size_t i = 0; i < nodes; ++i) {
    KernelWork k;
    k.kernel = device().kernel();
    k.grid = {1, 1, 1};
    for (int p = 0; p + 1 < kParams; ++p) k.params.push_back(Address::fixed(4096 + i));
    if (i < readers) k.params[0] = Address::input(static_cast<std::int32_t>(i % inputs), 0);
    k.params.push_back(scalar(7));
    works.push_back({static_cast<plan::LaunchId>(i), fmt::format("linear_{}", i), std::move(k)});
  }
  return works;
}

std::vector<plan::Edge> edges(std::size_t nodes) {
  std::vector<plan::Edge> all;
  for (std::int32_t i = 1; i < static_cast<std::int32_t>(nodes); ++i) {
    if (i % 3 == 0) all.push_back({i - 3, i});
    all.push_back({i - 1, i});
  }
  return all;
}

Ports ports(std::size_t inputs) {
  return {std::vector<CUdeviceptr>(inputs, 1 << 20), {}, {}};
}

/// Replays of a graph of range(0) nodes; range(1) nodes are patched each time.
void replay(benchmark::State& state) {
  const auto nodes = static_cast<std::size_t>(state.range(0));
  const auto patched = static_cast<std::size_t>(state.range(1));
  const std::size_t inputs = 8;
  Ports now = ports(inputs);
  const auto runner = build_plan_graph(device().context(), chain(nodes, inputs, patched),
                                       edges(nodes), now, device().stream());
  for (auto _ : state) {
    if (patched > 0) {
      for (CUdeviceptr& p : now.inputs) p ^= 4096;
    }
    runner->launch(now, device().stream());
  }
  if (runner->patched() != patched) state.SkipWithError("another number of nodes was patched");
}
BENCHMARK(replay)->Args({10, 0})->Args({100, 0})->Args({1000, 0})->Args({1000, 8})->Args({1000,
                                                                                          64});

/// The driver's part of it.
void replay_by_hand(benchmark::State& state) {
  const auto nodes = static_cast<std::size_t>(state.range(0));
  const auto patched = static_cast<std::size_t>(state.range(1));
  Graph graph = Graph::create(device().context());
  std::vector<Work> works = chain(nodes, 8, patched);
  std::vector<CUgraphNode> made;
  std::vector<ParamBlock> blocks;
  blocks.reserve(nodes);
  const Ports at = ports(8);
  for (Work& w : works) {
    auto& k = std::get<KernelWork>(w.what);
    blocks.emplace_back(k).resolve(k, at);
    CUgraphNodeParams p{};
    p.type = CU_GRAPH_NODE_TYPE_KERNEL;
    p.kernel.func = k.kernel.function();
    p.kernel.gridDimX = p.kernel.gridDimY = p.kernel.gridDimZ = 1;
    p.kernel.blockDimX = p.kernel.blockDimY = p.kernel.blockDimZ = 1;
    p.kernel.kernelParams = blocks.back().pointers();
    made.push_back(graph.add_node(p));
  }
  GraphExec exec = graph.instantiate();
  const Driver& cu = device().driver();
  std::vector<CUDA_KERNEL_NODE_PARAMS_v2> params;
  for (std::size_t i = 0; i < patched; ++i) {
    params.push_back(kernel_node_params(std::get<KernelWork>(works[i].what), blocks[i]));
  }
  for (auto _ : state) {
    for (std::size_t i = 0; i < patched; ++i) {
      cu.GraphExecKernelNodeSetParams.raw(exec.get(), made[i], &params[i]);
    }
    cu.GraphLaunch.raw(exec.get(), device().stream());
  }
}
BENCHMARK(replay_by_hand)->Args({1000, 0})->Args({1000, 8})->Args({1000, 64});

/// Builds of range(0) nodes, with instantiation and upload.
void build(benchmark::State& state) {
  const auto nodes = static_cast<std::size_t>(state.range(0));
  const auto plan_edges = edges(nodes);
  std::int64_t kept = 0;
  for (auto _ : state) {
    state.PauseTiming();
    const std::int64_t before = live_bytes;
    std::vector<Work> works = chain(nodes, 8, 8);
    state.ResumeTiming();
    auto runner = build_plan_graph(device().context(), std::move(works), plan_edges, ports(8),
                                   device().stream());
    state.PauseTiming();
    kept = live_bytes - before;
    runner.reset();
    state.ResumeTiming();
  }
  state.counters["bytes_per_node"] = static_cast<double>(kept) / static_cast<double>(nodes);
}
BENCHMARK(build)->Arg(100)->Arg(1000)->Unit(benchmark::kMillisecond);

/// The driver's part of it: the same nodes and edges added directly, instantiated and uploaded.
void build_by_hand(benchmark::State& state) {
  const auto nodes = static_cast<std::size_t>(state.range(0));
  const auto plan_edges = edges(nodes);
  std::int64_t kept = 0;
  const Driver& cu = device().driver();
  CUdeviceptr address = 4096;
  int number = 7;
  void* params[kParams] = {&address, &address, &address, &address, &address, &number};
  CUgraphNodeParams p{};
  p.type = CU_GRAPH_NODE_TYPE_KERNEL;
  p.kernel.func = device().kernel().function();
  p.kernel.gridDimX = p.kernel.gridDimY = p.kernel.gridDimZ = 1;
  p.kernel.blockDimX = p.kernel.blockDimY = p.kernel.blockDimZ = 1;
  p.kernel.kernelParams = params;
  for (auto _ : state) {
    std::vector<CUgraphNode> made(nodes);
    const std::int64_t before = live_bytes;
    CUgraph graph = nullptr;
    cu.GraphCreate(&graph, 0);
    std::size_t next = 0;
    CUgraphNode after[2];
    for (std::size_t i = 0; i < nodes; ++i) {
      std::size_t n = 0;
      for (; next < plan_edges.size() && static_cast<std::size_t>(plan_edges[next].to) == i;
           ++next) {
        after[n++] = made[static_cast<std::size_t>(plan_edges[next].from)];
      }
      cu.GraphAddNode(&made[i], graph, after, nullptr, n, &p);
    }
    CUDA_GRAPH_INSTANTIATE_PARAMS how{};
    CUgraphExec exec = nullptr;
    cu.GraphInstantiateWithParams(&exec, graph, &how);
    cu.GraphUpload(exec, device().stream());
    cu.StreamSynchronize(device().stream());
    state.PauseTiming();
    kept = live_bytes - before;
    cu.GraphExecDestroy(exec);
    cu.GraphDestroy(graph);
    state.ResumeTiming();
  }
  state.counters["bytes_per_node"] = static_cast<double>(kept) / static_cast<double>(nodes);
}
BENCHMARK(build_by_hand)->Arg(100)->Arg(1000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace monograph::cuda

BENCHMARK_MAIN();
