// Times whole decoding steps on a real GPU, from graph text through passes, plan and CUDA graph,
// with drawn weights and without LibTorch.
// Usage: decode_timing [--launches] [--text] [--keys=N] [--without=PASS]... MODEL[:BATCH]...
//   --keys=N  keys that count, the newest among them (1,024)
#include <fmt/format.h>
#include <monograph/error.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <random>
#include <sstream>

#include "capture/ir/text.h"
#include "capture/passes/fusion/expand.h"
#include "capture/passes/pass.h"
#include "kernels/compile/compiler.h"
#include "runtime/cuda/backend/convert_call.h"
#include "runtime/cuda/graph/plan_graph.h"
#include "runtime/lower/lower.h"
#include "tests/kernels/decoder_text.h"
#include "tests/kernels/types_only.h"

namespace kernels_test {
namespace {

using namespace monograph;
using cuda::Address;

constexpr std::int64_t kKeys = 1024;
constexpr std::size_t kPattern = std::size_t{64} << 20;

std::string file_text(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) throw Error(Code::kInvalidArgument, "can't read " + path);
  return text.str();
}

/// A step as kernels: everything but memory.
struct Prepared {
  ir::Graph graph;
  lower::Lowered lowered;
  plan::Plan plan;
  std::vector<cuda::KernelCall> calls;
  std::vector<kernels::Instance> instances;
  std::vector<kernels::Compiled> compiled;
};

std::unique_ptr<Prepared> prepare(const Decoder& d, const kernels::Target& target,
                                  const kernels::Compiler& compiler) {
  auto p = std::make_unique<Prepared>();
  p->graph = ir::parse(d.layers > 0 ? decoder_text(d) : file_text(d.name));
  TypesOnly folder;
  passes::PassContext context{&folder};
  std::vector<std::string> names = passes::fused_pipeline();
  std::erase_if(names, [&](const auto& n) { return std::ranges::count(d.without, n) > 0; });
  passes::run_passes(p->graph, names, context);
  const auto match = [&](const ir::Node& node, kernels::Match* out) {
    std::string why;
    auto call = cuda::to_kernel_call(node, &why);
    *out = call ? kernels::select(call->call, target) : kernels::Match::no(why);
    if (!out->instance) throw Error(Code::kInternal, "no kernel: " + out->reason, node.name());
    return *call;
  };
  passes::expand_fusions(p->graph, [&](const ir::Node& node) -> std::string {
    std::string why;
    auto call = cuda::to_kernel_call(node, &why);
    if (!call) return why;
    const kernels::Match m = kernels::select(call->call, target);
    return m.instance ? "" : m.reason;
  });
  p->lowered = lower::lower(p->graph, [&](const ir::Node& node) -> lower::Choice {
    kernels::Match m;
    match(node, &m);
    return {lower::LaunchKind::kKernel, m.instance->kernel, "", m.instance->workspace_bytes};
  });
  p->plan = plan::make_plan(p->lowered.problem, plan::Concurrency::kGraph);
  std::vector<const kernels::Instance*> wanted;
  for (const lower::Launch& l : p->lowered.launches) {
    kernels::Match m;
    p->calls.push_back(match(*l.node, &m));
    p->instances.push_back(std::move(*m.instance));
  }
  for (const auto& i : p->instances) wanted.push_back(&i);
  p->compiled = compiler.compile(wanted, target.arch);
  return p;
}

std::string label(const kernels::Instance& i, const kernels::Resources& r) {
  const kernels::Geometry& g = i.geometry;
  return fmt::format("{:<15} {:>8.3f} MB grid {}x{}x{} block {} shared {}+{} regs {}", i.kernel,
                     i.roofline.bytes / 1e6, g.grid[0], g.grid[1], g.grid[2], g.block[0],
                     g.dynamic_shared_bytes, r.static_shared_bytes, r.registers);
}

/// What would run, without a device: kernels are compiled into the cache.
void show(const Decoder& d, const kernels::Target& target, const kernels::Compiler& compiler) {
  const auto p = prepare(d, target, compiler);
  std::map<std::string, int> groups;
  for (std::size_t i = 0; i < p->instances.size(); ++i) {
    ++groups[label(p->instances[i], p->compiled[i].resources)];
  }
  std::printf("%s batch %ld: %zu launches, %zu edges\n", d.name.c_str(), static_cast<long>(d.batch),
              p->instances.size(), p->plan.edges.size());
  for (const auto& [text, count] : groups) std::printf("%4d %s\n", count, text.c_str());
}

const char* cache_folder() {
  const char* folder = std::getenv("MONOGRAPH_CACHE");
  return folder != nullptr ? folder : KERNEL_CACHE;
}

struct Rig {
  std::int64_t keys = kKeys;  // that count
  cuda::Driver const& driver = cuda::Driver::open("libcuda.so.1");
  cuda::ContextRef context = cuda::Context::retain(driver);
  cuda::CurrentContext current{*context};
  cuda::Stream stream = cuda::Stream::create(context);
  kernels::Compiler compiler{cache_folder(), 12};
  kernels::Target target;
  double ceiling = 3.08e6;  // bytes a microsecond

  Rig() {
    const cuda::DeviceInfo& info = context->info();
    target.arch = fmt::format("sm_{}{}", info.major, info.minor);
    target.multiprocessors = info.multiprocessors;
    if (info.name.find("H200") != std::string::npos) ceiling = target.read_bytes_per_us = 4.55e6;
    std::printf("%s, %d multiprocessors\n", info.name.c_str(), target.multiprocessors);
  }
};

/// A lowered model with its memory and its graph.
class Step {
 public:
  Step(Rig& rig, const Decoder& d) : rig_(rig), decoder_(d) {
    prepared_ = prepare(d, rig.target, rig.compiler);
    place();
    bind();
    runner_ = cuda::build_plan_graph(rig.context, works_, prepared_->plan.edges, ports_,
                                     rig.stream.get());
  }

  void report() const {
    const cuda::GraphReport& r = runner_->report();
    std::printf("%s batch %ld: %zu kernels, %zu edges of which %zu programmatic\n",
                decoder_.name.c_str(), static_cast<long>(decoder_.batch), r.kernel_nodes, r.edges,
                r.programmatic_edges);
  }
  std::string text() const { return runner_->text(); }

  /// Microseconds of one step: median, 10th and 90th percentile.
  std::array<double, 3> time(int rounds) {
    cuda::Event from = cuda::Event::create(rig_.context, cuda::Event::Timing::kOn);
    cuda::Event to = cuda::Event::create(rig_.context, cuda::Event::Timing::kOn);
    std::vector<double> times;
    for (int r = -3; r < rounds; ++r) {
      from.record(rig_.stream.get());
      for (int i = 0; i < kSteps; ++i) runner_->launch(ports_, rig_.stream.get());
      to.record(rig_.stream.get());
      rig_.stream.synchronize();
      if (r >= 0) times.push_back(to.elapsed_ms_since(from) * 1e3 / kSteps);
    }
    std::ranges::sort(times);
    const auto at = [&](double q) {
      return times[static_cast<std::size_t>(q * (times.size() - 1))];
    };
    return {at(0.5), at(0.1), at(0.9)};
  }

  /// Prints the step's results, to be compared between versions.
  void results() {
    runner_->launch(ports_, rig_.stream.get());
    const auto last = [&](const plan::Buffer& b) { return b.kind == plan::BufferKind::kOutput; };
    for (const plan::Buffer& b : prepared_->lowered.problem.buffers) {
      if (!last(b)) continue;
      std::vector<std::uint16_t> values(static_cast<std::size_t>(b.bytes) / 2);
      rig_.driver.MemcpyDtoHAsync(values.data(), memory_[b.id], values.size() * 2,
                                  rig_.stream.get());
      rig_.stream.synchronize();
      if (b.slot == 0) {
        std::int64_t token = 0;
        std::memcpy(&token, values.data(), 8);
        std::printf("  token %ld", static_cast<long>(token));
        continue;
      }
      double sum = 0;
      double squares = 0;
      for (std::size_t i = 0; i < values.size(); ++i) {
        const std::uint32_t bits = static_cast<std::uint32_t>(values[i]) << 16;
        float f = 0;
        std::memcpy(&f, &bits, 4);
        if (i < 4 || i + 2 > values.size()) std::printf("  %.4g", f);
        sum += f;
        squares += static_cast<double>(f) * f;
      }
      std::printf("  mean %.5g rms %.5g\n", sum / values.size(),
                  std::sqrt(squares / values.size()));
    }
  }

  /// Every launch by itself, grouped by kernel and bytes.
  void launches() {
    auto alone = cuda::build_plan_stream(rig_.context, works_, ports_);
    std::map<std::string, std::vector<double>> groups;
    std::vector<double> us(works_.size(), 0);
    for (int r = 0; r < 5; ++r) {
      std::ranges::fill(us, 0);
      if (!alone->launch_timed(ports_, rig_.stream.get(), us)) return;
      for (std::size_t i = 0; r > 0 && i < us.size(); ++i) groups[labels_[i]].push_back(us[i]);
    }
    for (auto& [label, t] : groups) {
      std::ranges::sort(t);
      std::printf("  %-60s x%3zu  %8.2f us\n", label.c_str(), t.size() / 4, t[t.size() / 2]);
    }
  }

 private:
  static constexpr int kSteps = 4;

  cuda::DeviceBuffer& allocate(std::size_t bytes) {
    return owned_.emplace_back(
        cuda::DeviceBuffer::allocate(rig_.context, std::max<std::size_t>(bytes, 256)));
  }

  void place() {
    std::mt19937 random(7);
    std::normal_distribution<float> normal(0.0f, 0.02f);
    std::vector<std::uint16_t> pattern(kPattern / 2);
    std::vector<std::uint16_t> drawn(1 << 20);
    for (auto& v : drawn) {
      const float f = normal(random);
      std::uint32_t bits = 0;
      std::memcpy(&bits, &f, 4);
      v = static_cast<std::uint16_t>(bits >> 16);
    }
    for (std::size_t i = 0; i < pattern.size(); ++i)
      pattern[i] = drawn[(i * 7 + i / 1021) % drawn.size()];
    const CUdeviceptr from = allocate(kPattern).get();
    rig_.driver.MemcpyHtoDAsync(from, pattern.data(), kPattern, rig_.stream.get());
    arena_ = allocate(static_cast<std::size_t>(prepared_->plan.arena_bytes)).get();
    for (const plan::Buffer& b : prepared_->lowered.problem.buffers) {
      if (b.kind == plan::BufferKind::kIntermediate) continue;
      const auto bytes = static_cast<std::size_t>(b.bytes);
      const CUdeviceptr at = allocate(bytes).get();
      memory_[b.id] = at;
      const bool io = b.kind == plan::BufferKind::kInput || b.kind == plan::BufferKind::kOutput;
      for (std::size_t done = 0; !io && done < bytes; done += kPattern) {
        rig_.driver.MemcpyDtoDAsync(at + done, from, std::min(kPattern, bytes - done),
                                    rig_.stream.get());
      }
      if (io) rig_.driver.MemsetD8Async(at, 0, bytes, rig_.stream.get());
      if (b.kind == plan::BufferKind::kInput && b.bytes == 8 && b.slot == 1) {
        const std::int64_t position = rig_.keys - 1;
        rig_.driver.MemcpyHtoDAsync(at, &position, 8, rig_.stream.get());
        rig_.stream.synchronize();
      }
    }
    rig_.stream.synchronize();
  }

  CUdeviceptr address(const ir::Value& v) const {
    const plan::BufferId id = prepared_->lowered.buffer_of[static_cast<std::size_t>(v.storage)];
    const auto byte = static_cast<CUdeviceptr>(v.type.offset * ir::itemsize(v.type.dtype));
    const auto it = memory_.find(id);
    return byte + (it != memory_.end()
                       ? it->second
                       : arena_ + static_cast<CUdeviceptr>(prepared_->plan.offset_of(id)));
  }

  void bind() {
    std::map<std::vector<std::byte>, std::size_t> loaded;
    for (std::size_t i = 0; i < prepared_->instances.size(); ++i) {
      const kernels::Compiled& c = prepared_->compiled[i];
      const auto [it, fresh] = loaded.emplace(c.image, libraries_.size());
      if (fresh) libraries_.push_back(cuda::Library::load(rig_.context, c.image));
      works_.push_back(work(prepared_->lowered.launches[i], prepared_->calls[i],
                            prepared_->instances[i], c, libraries_[it->second]));
      labels_.push_back(label(prepared_->instances[i], c.resources));
    }
    rig_.stream.synchronize();
  }

  cuda::Work work(const lower::Launch& launch, const cuda::KernelCall& call,
                  const kernels::Instance& instance, const kernels::Compiled& compiled,
                  const cuda::Library& library) {
    cuda::KernelWork k;
    k.kernel = library.kernel(compiled.entry);
    k.grid = instance.geometry.grid;
    k.block = instance.geometry.block;
    k.dynamic_shared_bytes = instance.geometry.dynamic_shared_bytes;
    if (k.dynamic_shared_bytes > 0) k.kernel.allow_dynamic_shared(k.dynamic_shared_bytes);
    k.programmatic = instance.geometry.programmatic && std::getenv("PLAIN_EDGES") == nullptr;
    CUdeviceptr state = 0;
    if (instance.state_bytes > 0) {
      state = allocate(static_cast<std::size_t>(instance.state_bytes)).get();
      rig_.driver.MemsetD8Async(state, 0, static_cast<std::size_t>(instance.state_bytes),
                                rig_.stream.get());
    }
    for (const kernels::Param& p : instance.params) {
      using Kind = kernels::Param::Kind;
      const auto index = static_cast<std::size_t>(p.index);
      if (p.kind == Kind::kScalar) {
        k.params.emplace_back(p.bytes);
        continue;
      }
      CUdeviceptr a = state;
      if (p.kind == Kind::kInput) {
        a = address(call.input_nodes[index]->values()[call.input_elements[index]]);
      } else if (p.kind == Kind::kOutput) {
        a = address(launch.node->values()[index]);
      } else if (p.kind == Kind::kWorkspace) {
        a = arena_ + static_cast<CUdeviceptr>(prepared_->plan.workspace_offset_of(launch.id));
      }
      k.params.emplace_back(Address::fixed(a + static_cast<CUdeviceptr>(p.byte_offset)));
    }
    return {launch.id, launch.node->name(), std::move(k)};
  }

  Rig& rig_;
  Decoder decoder_;
  std::unique_ptr<Prepared> prepared_;
  std::vector<cuda::DeviceBuffer> owned_;
  std::map<plan::BufferId, CUdeviceptr> memory_;
  CUdeviceptr arena_ = 0;
  std::vector<cuda::Library> libraries_;
  std::vector<cuda::Work> works_;
  std::vector<std::string> labels_;
  cuda::Ports ports_;
  std::unique_ptr<cuda::PlanRunner> runner_;
};

Decoder find(const std::string& name, std::int64_t batch) {
  if (name == "1b") return llama_1b(batch);
  if (name == "8b") return llama_8b(batch);
  if (name == "0.6b") return qwen3_0_6b(batch);
  throw Error(Code::kInvalidArgument, "models are 1b, 8b and 0.6b");
}

Decoder read(const std::string& arg) {
  if (arg.ends_with(".txt")) return {arg, 0};
  const std::size_t colon = arg.find(':');
  return find(arg.substr(0, colon),
              colon == std::string::npos ? 1 : std::stol(arg.substr(colon + 1)));
}

int run(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--dry") == 0) {
    const kernels::Compiler compiler(cache_folder(), 2);
    for (int i = 2; i < argc; ++i) show(read(argv[i]), kernels::Target{}, compiler);
    return 0;
  }
  Rig rig;
  bool each = false;
  bool text = false;
  std::vector<std::string> without;
  constexpr std::string_view kWithout = "--without=";
  constexpr std::string_view kKeysOption = "--keys=";
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg.starts_with(kWithout)) without.push_back(arg.substr(kWithout.size()));
    if (arg.starts_with(kKeysOption)) rig.keys = std::stol(arg.substr(kKeysOption.size()));
    if (arg == "--launches") each = true;
    if (arg == "--text") text = true;
    if (arg.starts_with("--")) continue;
    Decoder d = read(arg);
    d.without = without;
    Step step(rig, d);
    step.report();
    step.results();
    if (text) std::printf("%s", step.text().c_str());
    const auto [median, low, high] = step.time(25);
    const double floor = d.bytes(rig.keys) / rig.ceiling;
    std::printf("%-14s batch %ld: %9.1f us [%.1f, %.1f], floor %9.1f, share %.1f %%\n",
                d.name.c_str(), static_cast<long>(d.batch), median, low, high, floor,
                100 * floor / median);
    if (each) step.launches();
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace kernels_test

int main(int argc, char** argv) {
  try {
    return kernels_test::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
