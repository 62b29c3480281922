// A small model through the whole path: node-built and captured graphs, seeded orders, and the
// mutations that they must find.
#include <monograph/error.h>

#include <cmath>

#include "tests/vgpu/fixture.h"

namespace vgpu_test {
namespace {

using monograph::Error;
using Bf16 = std::uint16_t;

float widen(Bf16 bits) {
  const std::uint32_t u = std::uint32_t(bits) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}
Bf16 narrow(float f) {
  std::uint32_t u;
  std::memcpy(&u, &f, 4);
  return static_cast<Bf16>((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

constexpr int kHidden = 256, kInner = 128, kSplits = 2;
constexpr unsigned kThreads = 128, kRowBlocks = kInner / (kThreads / 32);

struct Data {
  std::vector<Bf16> x, norm, gate, up;
  explicit Data(unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<Bf16>* v, int n, float scale) {
      while (n-- > 0) v->push_back(narrow(normal(random) * scale));
    };
    fill(&x, kHidden, 1);
    fill(&norm, kHidden, 1);
    fill(&gate, kInner * kHidden, 0.06f);
    fill(&up, kInner * kHidden, 0.06f);
  }
  std::vector<double> reference() const {
    double squares = 0;
    for (const Bf16 v : x) squares += double(widen(v)) * widen(v);
    const double scale = 1 / std::sqrt(squares / kHidden + 1e-5);
    std::vector<double> result;
    for (std::size_t row = 0; row < kInner; ++row) {
      double g = 0, u = 0;
      for (std::size_t c = 0; c < kHidden; ++c) {
        const double v = widen(x[c]) * scale * widen(norm[c]);
        g += widen(gate[row * kHidden + c]) * v;
        u += widen(up[row * kHidden + c]) * v;
      }
      result.push_back(g / (1 + std::exp(-g)) * u);
    }
    return result;
  }
};

struct EdgeOf {
  int from, to;
};
// 0, 1: tickets cleared; 2: norm; 3: gate product; 4: up product; 5: gated (a child); 6: copy
constexpr EdgeOf kEdges[] = {{0, 3}, {2, 3}, {1, 4}, {2, 4}, {3, 5}, {4, 5}, {5, 6}};
enum class Build { kNodes, kProgrammatic, kCapture, kStream };

class Model : public VirtualGpu {
 protected:
  // Loads data and places intermediates in one buffer, so that a replay can start from rubbish.
  void prepare(const std::string& image) {
    library = load_image(context, image);
    norm_kernel = library.kernel("normalise");
    product = library.kernel("matvec");
    gated = library.kernel("gated");
    x = upload(data.x);
    norm = upload(data.norm);
    gate = upload(data.gate);
    up = upload(data.up);
    arena = DeviceBuffer::allocate(context, 64 << 10);
    CUdeviceptr at = arena.get();
    for (CUdeviceptr* slot : {&xn, &g, &u, &h, &out, &parts_g, &parts_u, &tickets_g, &tickets_u}) {
      *slot = at;
      at += 4096;
    }
    norm_args.emplace(x.get(), norm.get(), xn, kHidden, 1e-5f);
    g_args.emplace(gate.get(), xn, g, parts_g, tickets_g, kInner, kHidden);
    u_args.emplace(up.get(), xn, u, parts_u, tickets_u, kInner, kHidden);
    gated_args.emplace(g, u, h, kInner / 8);
  }
  void drop_all() {
    library = {};
    for (DeviceBuffer* b : {&x, &norm, &gate, &up, &arena}) *b = {};
  }
  void TearDown() override {
    drop_all();
    VirtualGpu::TearDown();
  }

  Shape norm_shape() const { return {1, 1, kThreads}; }
  Shape product_shape() const { return {kRowBlocks, kSplits, kThreads, kHidden / kSplits * 4}; }
  Shape gated_shape() const { return {1, 1, kInner / 8}; }

  Graph by_nodes(int dropped, bool programmatic) {
    Graph graph = Graph::create(context);
    Graph inner = Graph::create(context);
    CUgraphNodeParams p[7] = {fill_node(tickets_g, 0, kRowBlocks),
                              fill_node(tickets_u, 0, kRowBlocks),
                              kernel_node(norm_kernel, norm_shape(), norm_args->pointers()),
                              kernel_node(product, product_shape(), g_args->pointers()),
                              kernel_node(product, product_shape(), u_args->pointers()),
                              {},
                              copy_node(out, h, kInner * 2)};
    CUgraphNodeParams leaf = kernel_node(gated, gated_shape(), gated_args->pointers());
    inner.add_node(leaf);
    p[5].type = CU_GRAPH_NODE_TYPE_GRAPH;
    p[5].graph.graph = inner.get();
    if (programmatic) p[5] = leaf;  // programmatic edges lead from kernel to kernel only
    CUgraphNode n[7];
    for (int i = 0; i < 7; ++i) n[i] = graph.add_node(p[i]);
    for (int i = 0; i < 7; ++i) {
      if (i == dropped) continue;
      CUgraphEdgeData edge{};
      const bool kernels = kEdges[i].from >= 2 && kEdges[i].to <= 5;
      if (programmatic && kernels) {
        edge.type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC;
        edge.from_port = CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC;
      }
      graph.add_dependencies({{n[kEdges[i].from]}}, {{n[kEdges[i].to]}}, {{edge}});
    }
    return graph;
  }

  void enqueue(CUstream main, CUstream side, Event* fork, Event* join) {
    const Driver& cu = driver();
    cu.MemsetD32Async(tickets_g, 0, kRowBlocks, main);
    cu.MemsetD32Async(tickets_u, 0, kRowBlocks, main);
    launch(main, norm_kernel, norm_shape(), norm_args->pointers());
    fork->record(main);
    cu.StreamWaitEvent(side, fork->get(), 0);
    launch(main, product, product_shape(), g_args->pointers());
    launch(side, product, product_shape(), u_args->pointers());
    join->record(side);
    cu.StreamWaitEvent(main, join->get(), 0);
    launch(main, gated, gated_shape(), gated_args->pointers());
    cu.MemcpyDtoDAsync(out, h, kInner * 2, main);
  }

  // Two replays from rubbish; empty if they differ or the device fails.
  std::vector<Bf16> run(Build build, int dropped = -1) {
    try {
      Stream side = Stream::create(context);
      Event fork = Event::create(context), join = Event::create(context);
      GraphExec exec;
      if (build == Build::kNodes || build == Build::kProgrammatic) {
        exec = by_nodes(dropped, build == Build::kProgrammatic).instantiate();
      } else if (build == Build::kCapture) {
        Graph graph = Graph::create(context);
        graph.begin_capture(stream.get(), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
        enqueue(stream.get(), side.get(), &fork, &join);
        graph.end_capture();
        exec = graph.instantiate();
      }
      std::vector<Bf16> results[2];
      for (auto& result : results) {
        driver().MemsetD8Async(arena.get(), 0xff, arena.bytes(), stream.get());
        if (exec)
          exec.launch(stream.get());
        else
          enqueue(stream.get(), side.get(), &fork, &join);
        result = download<Bf16>(out, kInner);
      }
      return results[0] == results[1] ? results[0] : std::vector<Bf16>{};
    } catch (const Error&) {
      controls().reset();
      return {};
    }
  }

  int wrong_seeds(Build build, const std::vector<Bf16>& right, int seeds, int dropped = -1) {
    int wrong = 0;
    for (int seed = 1; seed <= seeds; ++seed) {
      controls().seed(static_cast<std::uint64_t>(seed));
      wrong += run(build, dropped) != right;
    }
    controls().seed(0);
    return wrong;
  }

  Data data{11};
  Library library;
  Kernel norm_kernel, product, gated;
  DeviceBuffer x, norm, gate, up, arena;
  CUdeviceptr xn = 0, g = 0, u = 0, h = 0, out = 0, parts_g = 0, parts_u = 0, tickets_g = 0,
              tickets_u = 0;
  std::optional<Args<CUdeviceptr, CUdeviceptr, CUdeviceptr, int, float>> norm_args;
  std::optional<Args<CUdeviceptr, CUdeviceptr, CUdeviceptr, CUdeviceptr, CUdeviceptr, int, int>>
      g_args, u_args;
  std::optional<Args<CUdeviceptr, CUdeviceptr, CUdeviceptr, int>> gated_args;
};

TEST_F(Model, IsRightAndBitIdenticalOverSeedsHoweverItIsBuilt) {
  prepare("model");
  const auto right = run(Build::kNodes);
  ASSERT_EQ(right.size(), std::size_t(kInner));
  const auto want = data.reference();
  for (std::size_t i = 0; i < kInner; ++i) {
    EXPECT_NEAR(widen(right[i]), want[i], 0.02 + 0.03 * std::abs(want[i])) << i;
  }
  EXPECT_EQ(wrong_seeds(Build::kNodes, right, 20), 0);
  EXPECT_EQ(wrong_seeds(Build::kProgrammatic, right, 20), 0);
  EXPECT_EQ(wrong_seeds(Build::kCapture, right, 20), 0);
  EXPECT_EQ(wrong_seeds(Build::kStream, right, 20), 0);
}

TEST_F(Model, EveryDroppedEdgeIsFound) {
  prepare("model");
  const auto right = run(Build::kNodes);
  for (int i = 0; i < 7; ++i) {
    EXPECT_GT(wrong_seeds(Build::kNodes, right, 20, i), 0)
        << kEdges[i].from << " -> " << kEdges[i].to;
  }
}

TEST_F(Model, EveryDroppedBarrierIsFoundBySeeds) {
  prepare("model");
  const auto right = run(Build::kNodes);
  for (int i = 1; i <= 5; ++i) {
    drop_all();
    prepare("model_no_barrier_" + std::to_string(i));
    EXPECT_GT(wrong_seeds(Build::kNodes, right, 20), 0) << "barrier " << i;
  }
}

TEST_F(Model, TheRaceCheckPassesTheModelAndFindsDroppedBarriersAndFences) {
  prepare("model_races");
  const auto right = run(Build::kNodes);
  ASSERT_EQ(right.size(), std::size_t(kInner)) << controls().message();
  EXPECT_EQ(wrong_seeds(Build::kNodes, right, 2), 0) << controls().message();
  for (const char* variant :
       {"model_no_barrier_1_races", "model_no_barrier_2_races", "model_no_barrier_3_races",
        "model_no_barrier_4_races", "model_no_barrier_5_races", "model_no_fence_races"}) {
    drop_all();
    prepare(variant);
    EXPECT_TRUE(run(Build::kNodes).empty()) << variant << " without a seed";
    EXPECT_EQ(wrong_seeds(Build::kNodes, right, 2), 2) << variant;
  }
}

TEST_F(Model, ParametersOfANodeChangeBetweenLaunches) {
  prepare("model");
  Data other(12);
  const auto expected = [&] {
    std::swap(data, other);
    drop_all();
    prepare("model");
    const auto result = run(Build::kNodes);
    std::swap(data, other);
    drop_all();
    prepare("model");
    return result;
  }();
  Graph graph = by_nodes(-1, false);
  GraphExec exec = graph.instantiate();
  // The same weights' buffers with the other data, bound through parameter updates.
  DeviceBuffer x2 = upload(other.x), norm2 = upload(other.norm), gate2 = upload(other.gate),
               up2 = upload(other.up);
  std::get<0>(norm_args->values) = x2.get();
  std::get<1>(norm_args->values) = norm2.get();
  std::get<0>(g_args->values) = gate2.get();
  std::get<0>(u_args->values) = up2.get();
  const auto nodes = graph.nodes();
  const auto update = [&](std::size_t i, const Kernel& kernel, Shape shape, void** params) {
    CUDA_KERNEL_NODE_PARAMS p{};
    p.kern = kernel.get();
    p.gridDimX = shape.grid_x;
    p.gridDimY = shape.grid_y;
    p.gridDimZ = p.blockDimY = p.blockDimZ = 1;
    p.blockDimX = shape.threads;
    p.sharedMemBytes = shape.shared;
    p.kernelParams = params;
    exec.set_params(nodes[i], p);
  };
  const auto before = run(Build::kNodes);
  (void)before;
  update(2, norm_kernel, norm_shape(), norm_args->pointers());
  update(3, product, product_shape(), g_args->pointers());
  update(4, product, product_shape(), u_args->pointers());
  exec.launch(stream.get());
  EXPECT_EQ(download<Bf16>(out, kInner), expected);
}

// ---- programmatic dependent launch ----
class Programmatic : public VirtualGpu {
 protected:
  int wrong(const char* consumer, bool by_graph, int seeds) {
    const Library library = load_image(context, "probe");
    const Kernel produce = library.kernel("produce"), consume = library.kernel(consumer);
    DeviceBuffer mid = DeviceBuffer::allocate(context, 128),
                 out = DeviceBuffer::allocate(context, 128);
    Args first(mid.get(), 41.0f);
    Args second(mid.get(), out.get());
    Graph graph = Graph::create(context);
    CUgraphNodeParams a = kernel_node(produce, {1, 1, 32}, first.pointers());
    CUgraphNodeParams b = kernel_node(consume, {1, 1, 32}, second.pointers());
    CUgraphEdgeData edge{};
    edge.type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC;
    edge.from_port = CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC;
    graph.add_node(b, {{graph.add_node(a)}}, {{edge}});
    GraphExec exec = graph.instantiate();
    int count = 0;
    for (int seed = 1; seed <= seeds; ++seed) {
      controls().seed(static_cast<std::uint64_t>(seed));
      driver().MemsetD8Async(mid.get(), 0xff, 128, stream.get());
      if (by_graph) {
        exec.launch(stream.get());
      } else {
        launch(stream.get(), produce, {1, 1, 32}, first.pointers());
        launch(stream.get(), consume, {1, 1, 32}, second.pointers(), true);
      }
      count += download<float>(out.get(), 32) != std::vector<float>(32, 42.0f);
    }
    controls().seed(0);
    return count;
  }
};

TEST_F(Programmatic, ADependentThatWaitsIsRight) {
  EXPECT_EQ(wrong("consume", true, 30), 0);
  EXPECT_EQ(wrong("consume", false, 30), 0);
}
TEST_F(Programmatic, ADependentThatReadsBeforeItWaitsIsFound) {
  EXPECT_GT(wrong("bad_consume", true, 100), 10);
  EXPECT_GT(wrong("bad_consume", false, 100), 10);
}
TEST_F(Programmatic, CapturedLaunchesKeepTheirProgrammaticEdge) {
  const Library library = load_image(context, "probe");
  DeviceBuffer mid = DeviceBuffer::allocate(context, 128);
  Args args(mid.get(), 1.0f);
  Graph graph = Graph::create(context);
  graph.begin_capture(stream.get(), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  launch(stream.get(), library.kernel("produce"), {1, 1, 32}, args.pointers());
  launch(stream.get(), library.kernel("produce"), {1, 1, 32}, args.pointers(), true);
  graph.end_capture();
  const auto edges = graph.edges();
  ASSERT_EQ(edges.size(), 1u);
  EXPECT_EQ(edges[0].data.type, CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC);
  EXPECT_EQ(edges[0].data.from_port, CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC);
}

}  // namespace
}  // namespace vgpu_test
