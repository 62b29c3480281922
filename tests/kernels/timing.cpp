// Times kernels on a real GPU at the shapes of a decoding step and of encoders: chains of launches
// in one graph with programmatic edges, over more memory than L2 holds. Prints measured beside
// predicted time;
// `--json FILE` writes the same for docs/performance.md.
#include <fmt/format.h>
#include <monograph/error.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "kernels/compile/compiler.h"
#include "kernels/elementwise/definitions.h"
#include "kernels/fusion/attention.h"
#include "kernels/fusion/program.h"
#include "runtime/cuda/handles.h"

namespace {

using namespace monograph::cuda;
using namespace monograph::kernels;

constexpr std::size_t kPool = std::size_t{6} << 30;  // bytes that launches take turns on
constexpr int kMostLaunches = 128;

struct Timing {
  Driver const& driver = Driver::open("libcuda.so.1");
  ContextRef context = Context::retain(driver);
  CurrentContext current{*context};
  Stream stream = Stream::create(context);
  DeviceBuffer pool = DeviceBuffer::allocate(context, kPool);
  DeviceBuffer small = DeviceBuffer::allocate(context, std::size_t{64} << 20);
  DeviceBuffer state = DeviceBuffer::allocate(context, std::size_t{1} << 20);
  Compiler compiler{KERNEL_CACHE, 4};
  Target target;
  nlohmann::json rows = nlohmann::json::array();

  Timing() {
    const DeviceInfo& info = context->info();
    target.arch = fmt::format("sm_{}{}", info.major, info.minor);
    target.multiprocessors = info.multiprocessors;
    // What the H200 streams; the H100's figure is Target's own.
    if (info.name.find("H200") != std::string::npos) target.read_bytes_per_us = 4.55e6;
    fill(pool);
    fill(small);
    driver.MemsetD8Async(state.get(), 0, state.bytes(), stream.get());
    std::printf("%s, %d multiprocessors\n", info.name.c_str(), target.multiprocessors);
  }

  /// Numbers around 1 of either sign as bfloat16, hence as float as well: zeros would cost less
  /// power, and hide what a kernel reads.
  void fill(const DeviceBuffer& buffer) const {
    constexpr std::size_t kBlock = std::size_t{16} << 20;
    std::mt19937 random(7);
    std::vector<std::uint16_t> block(kBlock / 2);
    for (std::uint16_t& x : block) {
      x = static_cast<std::uint16_t>((random() & 0x80ffU) | 0x3f00U);
    }
    for (std::size_t at = 0; at < buffer.bytes(); at += kBlock) {
      driver.MemcpyHtoDAsync(buffer.get() + at, block.data(), std::min(kBlock, buffer.bytes() - at),
                             stream.get());
    }
    driver.StreamSynchronize(stream.get());
  }

  /// Launches of `instance`, each on constant inputs of its own.
  struct Chain {
    std::vector<std::vector<CUdeviceptr>> values;  // by launch
    int launches = 0;
  };
  Chain chain(const Instance& instance, const Call& call) {
    Chain c;
    std::size_t big = 0;
    for (const TensorDesc& t : call.inputs) {
      if (t.constant) big += (static_cast<std::size_t>(t.nbytes()) + 255) / 256 * 256;
    }
    c.launches =
        static_cast<int>(std::clamp<std::size_t>(big == 0 ? 64 : kPool / big, 1, kMostLaunches));
    std::size_t at = 0;
    for (int l = 0; l < c.launches; ++l) {
      std::vector<CUdeviceptr> inputs;
      std::size_t near = 0;
      for (const TensorDesc& t : call.inputs) {
        const std::size_t bytes = (static_cast<std::size_t>(t.nbytes()) + 255) / 256 * 256;
        inputs.push_back(t.constant ? pool.get() + at : small.get() + near);
        (t.constant ? at : near) += bytes;
      }
      std::vector<CUdeviceptr> values;
      for (const Param& p : instance.params) {
        const auto index = static_cast<std::size_t>(p.index);
        CUdeviceptr v = 0;
        if (p.kind == Param::Kind::kInput) v = inputs[index];
        if (p.kind == Param::Kind::kOutput) {
          v = small.get() + (std::size_t{32} << 20) + index * (std::size_t{8} << 20);
        }
        if (p.kind == Param::Kind::kWorkspace) v = small.get() + (std::size_t{48} << 20);
        if (p.kind == Param::Kind::kState) v = state.get();
        values.push_back(v);
      }
      c.values.push_back(std::move(values));
    }
    return c;
  }

  /// Microseconds a launch, median of graphs; `programmatic` edges or full ones.
  double run(const Instance& instance, const Call& call, bool programmatic) {
    const Compiled compiled = compiler.compile(instance, target.arch);
    const Library library = Library::load(context, compiled.image);
    Kernel kernel = library.kernel(compiled.entry);
    if (instance.geometry.dynamic_shared_bytes > 0) {
      kernel.allow_dynamic_shared(instance.geometry.dynamic_shared_bytes);
    }
    Chain c = chain(instance, call);
    driver.StreamBeginCapture(stream.get(), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    for (auto& values : c.values) launch(kernel, instance, values, programmatic);
    CUgraph graph = nullptr;
    driver.StreamEndCapture(stream.get(), &graph);
    CUgraphExec exec = nullptr;
    CUDA_GRAPH_INSTANTIATE_PARAMS params{};
    driver.GraphInstantiateWithParams(&exec, graph, &params);
    Event from = Event::create(context, Event::Timing::kOn);
    Event to = Event::create(context, Event::Timing::kOn);
    std::vector<double> times;
    for (int r = 0; r < 12; ++r) {
      from.record(stream.get());
      driver.GraphLaunch(exec, stream.get());
      to.record(stream.get());
      stream.synchronize();
      times.push_back(to.elapsed_ms_since(from) * 1e3 / c.launches);
    }
    driver.GraphExecDestroy(exec);
    driver.GraphDestroy(graph);
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }

  void launch(const Kernel& kernel, const Instance& instance, std::vector<CUdeviceptr>& values,
              bool programmatic) {
    std::vector<void*> pointers;
    for (CUdeviceptr& v : values) pointers.push_back(&v);
    CUlaunchAttribute attribute{};
    attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.programmaticStreamSerializationAllowed = 1;
    CUlaunchConfig config{};
    const Geometry& g = instance.geometry;
    config.gridDimX = g.grid[0];
    config.gridDimY = g.grid[1];
    config.gridDimZ = g.grid[2];
    config.blockDimX = g.block[0];
    config.blockDimY = g.block[1];
    config.blockDimZ = g.block[2];
    config.sharedMemBytes = g.dynamic_shared_bytes;
    config.hStream = stream.get();
    config.attrs = &attribute;
    config.numAttrs = programmatic && g.programmatic ? 1 : 0;
    driver.LaunchKernelEx(&config, kernel.function(), pointers.data(), nullptr);
  }

  void report(const std::string& name, const std::string& kernel, const Call& call) {
    const Definition* d = find_definition(kernel);
    Match m = d->match(call, target);
    if (!m.instance) {
      std::printf("%-34s %-17s no: %s\n", name.c_str(), kernel.c_str(), m.reason.c_str());
      return;
    }
    m.instance->kernel = kernel;
    const double plain = run(*m.instance, call, false);
    const double overlapped = run(*m.instance, call, true);
    const double bytes = m.instance->roofline.bytes;
    const double predicted = m.instance->roofline.predicted_us(target);
    std::printf(
        "%-34s %-17s %8.2f us, programmatic %8.2f us, predicted %8.2f us, %5.2f TB/s, %3.0f %%\n",
        name.c_str(), kernel.c_str(), plain, overlapped, predicted, bytes / overlapped / 1e6,
        100 * predicted / overlapped);
    std::fflush(stdout);
    rows.push_back({{"case", name},
                    {"kernel", kernel},
                    {"us", plain},
                    {"programmatic_us", overlapped},
                    {"bytes", bytes},
                    {"predicted_us", predicted}});
  }

  void write(const char* file) const {
    const nlohmann::json all{{"device", context->info().name},
                             {"multiprocessors", target.multiprocessors},
                             {"driver", driver.version()},
                             {"read_bytes_per_us", target.read_bytes_per_us},
                             {"kernels", rows}};
    std::ofstream(file) << all.dump(1) << "\n";
  }
};

Call linear(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k) {
  Call c;
  c.op = "aten.linear.default";
  c.inputs = {dense(dtype, {m, k}), dense(dtype, {n, k})};
  c.inputs[1].constant = true;
  c.args = {tensor_argument(0), tensor_argument(1)};
  c.outputs = {dense(dtype, {m, n})};
  return c;
}

/// gelu(x Wᵀ + b), the first half of an encoder's MLP.
Call gelu_linear(std::int64_t m, std::int64_t n, std::int64_t k) {
  Call c = linear(DType::kF16, m, n, k);
  c.inputs.push_back(dense(DType::kF16, {n}));
  c.inputs[2].constant = true;
  c.args.push_back(tensor_argument(2));
  Body body = fusion::body_of(c);
  body.steps.push_back({"aten.gelu.default", {tensor_argument(3)}, {}, c.outputs[0]});
  body.outputs = {4};
  c.op = "fusion";
  c.body = std::make_shared<Body>(std::move(body));
  return c;
}

/// Attention of an encoder, with the copy that puts heads side by side; q, k and v are the parts of
/// a packed projection, the mask says which tokens are padding.
Call encoder_attention(const fusion::AttentionSizes& n, bool mask) {
  Call c = fusion::attention_call(DType::kF16, n);
  if (mask) c = fusion::masked(std::move(c), DType::kF16, {n.batch, 1, 1, n.keys});
  c = fusion::transposed_attention(std::move(c));
  const std::int64_t row = 3 * n.heads * n.size;
  for (std::size_t i = 0; i < 3; ++i) c.inputs[i].strides = {n.rows * row, n.size, row, 1};
  return c;
}

Call attention(std::int64_t heads, std::int64_t group, std::int64_t keys, std::int64_t size) {
  Call c;
  c.op = "aten.scaled_dot_product_attention.default";
  const DType t = DType::kBF16;
  c.inputs = {dense(t, {1, heads * group, 1, size}), dense(t, {1, heads, keys, size}),
              dense(t, {1, heads, keys, size})};
  c.inputs[1].constant = c.inputs[2].constant = true;  // distinct memory each launch
  c.args = {tensor_argument(0), tensor_argument(1), tensor_argument(2)};
  c.outputs = {dense(t, {1, heads * group, 1, size})};
  return c;
}

Call norm(std::int64_t rows, std::int64_t n) {
  Call c;
  c.op = "aten.rms_norm.default";
  c.inputs = {dense(DType::kBF16, {rows, n}), dense(DType::kBF16, {n})};
  c.inputs[0].constant = true;
  c.args = {tensor_argument(0), number_argument(std::vector<std::int64_t>{n}), tensor_argument(1),
            number_argument(1e-5)};
  c.outputs = {dense(DType::kBF16, {rows, n})};
  return c;
}

/// `op` along rows of 2,048 halves, 4,096 of them: 16 MiB in.
Call rows(const std::string& op, std::vector<Argument> more, std::vector<std::int64_t> out,
          DType type = DType::kBF16) {
  Call c;
  c.op = op;
  c.inputs = {dense(DType::kBF16, {4096, 2048})};
  c.inputs[0].constant = true;
  c.args = {tensor_argument(0)};
  c.args.insert(c.args.end(), more.begin(), more.end());
  c.outputs = {dense(type, std::move(out))};
  return c;
}

void encoders(Timing& t) {
  struct Shape {
    const char* name;
    fusion::AttentionSizes sizes;
    bool mask;
  };
  for (const Shape& s : {Shape{"BERT attention", {1, 12, 1, 128, 128, 64}, true},
                         Shape{"BERT attention, 8 sentences", {8, 12, 1, 128, 128, 64}, true},
                         Shape{"ViT attention", {1, 12, 1, 197, 197, 64}, false},
                         Shape{"ViT attention, 8 pictures", {8, 12, 1, 197, 197, 64}, false},
                         Shape{"MiniLM attention", {1, 12, 1, 128, 128, 32}, true},
                         Shape{"512 tokens' attention", {1, 12, 1, 512, 512, 64}, false},
                         Shape{"1B attention, 1024 tokens", {1, 32, 1, 1024, 1024, 64}, false}}) {
    for (const char* kernel : {"prefill_attention", "attention"}) {
      t.report(s.name, kernel, encoder_attention(s.sizes, s.mask));
    }
  }
  t.report("BERT MLP 128 x 768 to 3072", "block_gemm", gelu_linear(128, 3072, 768));
  t.report("ViT MLP 197 x 768 to 3072", "block_gemm", gelu_linear(197, 3072, 768));
}

/// Kernels that only stream, at a size that fills the chip.
void streaming(Timing& t) {
  const std::vector<std::int64_t> whole{4096, 2048}, row{4096, 1};
  for (const char* name : {"relu", "gelu", "silu", "exp", "tanh", "sigmoid", "neg"}) {
    t.report(fmt::format("{} 4096 x 2048", name), name,
             rows(fmt::format("aten.{}.default", name), {}, whole));
  }
  for (const char* name : {"add", "mul"}) {
    Call c = rows(fmt::format("aten.{}.Tensor", name), {tensor_argument(1)}, whole);
    c.inputs.push_back(c.inputs[0]);
    t.report(fmt::format("{} 4096 x 2048", name), name, c);
  }
  const Argument last = number_argument(std::int64_t{-1});
  const Argument dims = number_argument(std::vector<std::int64_t>{-1});
  const Argument keep = number_argument(true), no = number_argument(false);
  t.report("softmax 4096 x 2048", "softmax", rows("aten._softmax.default", {last, no}, whole));
  t.report("log_softmax 4096 x 2048", "log_softmax",
           rows("aten._log_softmax.default", {last, no}, whole));
  t.report("sum 4096 x 2048", "sum", rows("aten.sum.dim_IntList", {dims, keep}, row));
  t.report("mean 4096 x 2048", "mean", rows("aten.mean.dim", {dims, keep}, row));
  t.report("amax 4096 x 2048", "amax", rows("aten.amax.default", {dims, keep}, row));
  t.report("argmax 4096 x 2048", "argmax",
           rows("aten.argmax.default", {last, keep}, row, DType::kI64));
  Call layer = rows("aten.layer_norm.default",
                    {number_argument(std::vector<std::int64_t>{2048}), tensor_argument(1),
                     tensor_argument(2), number_argument(1e-5)},
                    whole);
  layer.inputs.push_back(dense(DType::kBF16, {2048}));
  layer.inputs.push_back(dense(DType::kBF16, {2048}));
  t.report("layer_norm 4096 x 2048", "layer_norm", layer);
}

void all(Timing& t) {
  struct Shape {
    const char* name;
    std::int64_t n, k;
  };
  for (const Shape& s :
       {Shape{"1B qkv", 3072, 2048}, Shape{"1B o", 2048, 2048}, Shape{"1B gate/up", 16384, 2048},
        Shape{"1B down", 2048, 8192}, Shape{"1B head", 128256, 2048}, Shape{"8B qkv", 6144, 4096},
        Shape{"8B gate/up", 28672, 4096}, Shape{"8B down", 4096, 14336},
        Shape{"0.6B down", 1024, 3072}}) {
    t.report(fmt::format("{} bf16 m=1", s.name), "gemv", linear(DType::kBF16, 1, s.n, s.k));
  }
  t.report("1B gate/up f32 m=1", "gemv", linear(DType::kF32, 1, 16384, 2048));
  for (const std::int64_t m : {1, 2, 4, 8, 16}) {
    for (const char* kernel : {"gemv", "skinny_gemm"}) {
      t.report(fmt::format("1B gate/up bf16 m={}", m), kernel,
               linear(DType::kBF16, m, 16384, 2048));
      t.report(fmt::format("1B down bf16 m={}", m), kernel, linear(DType::kBF16, m, 2048, 8192));
    }
  }
  t.report("1B attention, 1024 keys", "attention", attention(8, 4, 1024, 64));
  t.report("1B attention, 2048 keys", "attention", attention(8, 4, 2048, 64));
  t.report("8B attention, 8192 keys", "attention", attention(8, 4, 8192, 128));
  t.report("rms_norm 1 x 2048", "rms_norm", norm(1, 2048));
  t.report("rms_norm 4096 x 2048", "rms_norm", norm(4096, 2048));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Timing timing;
    encoders(timing);
    all(timing);
    streaming(timing);
    if (argc == 3 && std::strcmp(argv[1], "--json") == 0) timing.write(argv[2]);
    return 0;
  } catch (const monograph::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
