// Whole models on the virtual GPU, and mutants of their plans and kernels that must be found out.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <regex>

#include "bench/models/bert.h"
#include "bench/models/mlp.h"
#include "runtime/cuda/backend/binder.h"
#include "tests/cuda/virtual_device.h"

namespace monograph::test {
namespace {

namespace fs = std::filesystem;
using Tensors = std::vector<at::Tensor>;

bench::BertConfig small_bert(bench::Attention attention) {
  bench::BertConfig c;
  c.vocab_size = 100;
  c.hidden_size = 32;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 2;
  c.intermediate_size = 64;
  c.max_position_embeddings = 16;
  c.attention = attention;
  return c;
}

/// With the passes of the host, or those of the device.
Program trace(const Module& module, const Tensors& inputs, const char* passes_of = "host") {
  Options options;
  options.backend = passes_of;
  auto traced = Program::trace(module, inputs, options);
  if (auto* rejection = std::get_if<Rejection>(&traced)) {
    throw std::runtime_error(rejection->to_string());
  }
  return std::get<Program>(std::move(traced));
}

Tensors tokens(std::int64_t rows, std::int64_t length) {
  at::Tensor mask = at::ones({rows, length}, at::kLong);
  mask.slice(0, 0, 1).slice(1, length - 1).zero_();
  return {at::randint(100, {rows, length}), mask};
}

Program bert(bench::Attention attention, const Tensors& inputs, const char* passes_of = "host") {
  bench::BertSentenceEncoder model(small_bert(attention));
  model->eval();
  for (auto& p : model->parameters()) p.requires_grad_(false);
  return trace(make_module<2>(model, {"input_ids", "attention_mask"}), inputs, passes_of);
}

TEST(Models, BertInAllOrders) {
  for (const auto attention : {bench::Attention::kFused, bench::Attention::kExplicit}) {
    for (const std::int64_t rows : {1, 3}) {
      for (const char* passes_of : {"host", "cuda"}) {
        const Program program = bert(attention, tokens(rows, 8), passes_of);
        expect_same_in_all_orders(program, {tokens(rows, 8), tokens(rows, 8)});
      }
    }
  }
}

TEST(Models, MlpInAllOrders) {
  const bench::Mlp model(4, 48);
  for (const std::int64_t rows : {1, 5}) {
    for (const char* passes_of : {"host", "cuda"}) {
      const Program program = trace(make_module<1>(model), {at::randn({rows, 48})}, passes_of);
      expect_same_in_all_orders(program, {{at::randn({rows, 48})}, {at::randn({rows, 48})}});
    }
  }
}

TEST(Models, BranchesStayParallel) {
  Module module;
  module.forward = [](const Tensors& in) -> Tensors {
    return {in[0].exp().neg().sin() * 2, in[1].exp().neg().sin() * 3};
  };
  const Program program = trace(module, {at::randn({40}), at::randn({50})});
  Executable e = Executable::build(program, cuda_options());
  const std::string text = e.dump("graph_nodes");
  // Nodes of one output's chain never wait for the other's: two components of equal size.
  std::map<int, int> component;
  const std::regex node("node (\\d+) "), edge("edge (\\d+) -> (\\d+)");
  for (std::sregex_iterator i(text.begin(), text.end(), node), end; i != end; ++i) {
    component[std::stoi((*i)[1])] = std::stoi((*i)[1]);
  }
  for (std::sregex_iterator i(text.begin(), text.end(), edge), end; i != end; ++i) {
    const int from = component[std::stoi((*i)[1])];
    const int to = component[std::stoi((*i)[2])];
    for (auto& [n, c] : component) c = c == to ? from : c;
  }
  std::map<int, int> sizes;
  for (const auto& [n, c] : component) ++sizes[c];
  ASSERT_EQ(sizes.size(), 2u) << text;
  EXPECT_EQ(sizes.begin()->second, sizes.rbegin()->second) << text;
  expect_same_in_all_orders(program, {{at::randn({40}), at::randn({50})}});
}

// ---- mutants of a plan ----

/// A planned program with memory of its own on the device, so that a test can build its graph with
/// other edges.
class Workbench {
 public:
  explicit Workbench(const Program& program) : program_(program) {
    session_ = cuda::DeviceSession::open(cuda_options());
    current_.emplace(*session_->context());
    planned_.graph = &program.graph();
    planned_.lowered = lower::lower(
        *planned_.graph, [this](const ir::Node& node) { return cuda::choose(node, *session_); });
    planned_.plan = plan::make_plan(planned_.lowered.problem, plan::Concurrency::kGraph);
    for (const NamedTensor& w : program.weights()) planned_.weights.emplace(w.name, w.tensor);
    planned_.inputs = program.inputs();
    planned_.outputs = program.outputs();
    planned_.session = session_;
    memory_.arena = session_->arena()->ensure(arena_bytes(), "workbench");
    place_weights();
    cuda::plan_ports(planned_, /*host_tensors=*/true, *session_, memory_);
    for (const cuda::Port& p : memory_.inputs) ports_.inputs.push_back(p.fixed);
    for (const cuda::Port& p : memory_.outputs) ports_.outputs.push_back(p.fixed);
    ports_.weights = memory_.weight_addresses;
  }

  /// Edges over works, as the back end would have them.
  std::vector<plan::Edge> edges() { return bind().edges; }

  /// The graph with `edges`, replayed under `seed` on intermediates that start as NaN.
  at::Tensor replay(const std::vector<plan::Edge>& edges, std::uint64_t first_seed,
                    std::uint64_t last_seed, const Tensors& inputs, const at::Tensor* expected,
                    bool* differs) {
    cuda::Bound bound = bind();
    const auto runner = cuda::build_plan_graph(session_->context(), std::move(bound.works), edges,
                                               ports_, session_->stream());
    at::Tensor out;
    for (std::uint64_t s = first_seed; s <= last_seed; ++s) {
      seed(s);
      out = once(*runner, inputs);
      if (expected != nullptr && !same_bits(out, *expected)) {
        *differs = true;
        break;
      }
    }
    return out;
  }

  const exec::Planned& planned() const { return planned_; }

 private:
  std::size_t arena_bytes() const { return static_cast<std::size_t>(planned_.plan.arena_bytes); }
  cuda::Bound bind() {
    return cuda::bind_plan(planned_, *session_, memory_,
                           cuda::find_aten_provider(session_->context()->driver()),
                           session_->stream());
  }
  void place_weights() {
    const cuda::Driver& driver = session_->context()->driver();
    for (const auto& [name, tensor] : planned_.weights) {
      memory_.weights.push_back({name, true, 0, ""});
      memory_.owned.push_back(
          cuda::DeviceBuffer::allocate(session_->context(), tensor.storage().nbytes()));
      memory_.weight_addresses.push_back(memory_.owned.back().get());
      driver.MemcpyHtoDAsync(memory_.owned.back().get(), tensor.storage().data(),
                             tensor.storage().nbytes(), session_->stream());
    }
    driver.StreamSynchronize(session_->stream());
  }
  at::Tensor once(cuda::PlanRunner& runner, const Tensors& inputs) {
    const cuda::Driver& driver = session_->context()->driver();
    const CUstream s = session_->stream();
    driver.MemsetD8Async(memory_.arena, 0xff, arena_bytes(), s);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      driver.MemcpyHtoDAsync(memory_.inputs[i].fixed, inputs[i].const_data_ptr(),
                             inputs[i].nbytes(), s);
    }
    const TensorSpec& spec = planned_.outputs[0];
    at::Tensor out = at::empty(spec.sizes, spec.dtype);
    driver.MemsetD8Async(memory_.outputs[0].fixed, 0xff, out.nbytes(), s);
    runner.launch(ports_, s);
    driver.MemcpyDtoHAsync(out.mutable_data_ptr(), memory_.outputs[0].fixed, out.nbytes(), s);
    driver.StreamSynchronize(s);
    return out;
  }

  Program program_;
  std::shared_ptr<cuda::DeviceSession> session_;
  std::optional<cuda::CurrentContext> current_;
  exec::Planned planned_;
  cuda::DeviceMemory memory_;
  cuda::Ports ports_;
};

TEST(Mutants, RemovingAnyEdgeOfABertLayerShows) {
  const Tensors inputs = tokens(2, 8);
  Workbench bench(bert(bench::Attention::kExplicit, inputs));
  const auto edges = bench.edges();
  ASSERT_GE(edges.size(), 20u);
  const at::Tensor want = bench.replay(edges, 0, 0, inputs, nullptr, nullptr);
  EXPECT_FALSE(want.isnan().any().item<bool>());
  bool differs = false;
  bench.replay(edges, 1, 40, inputs, &want, &differs);
  ASSERT_FALSE(differs);
  for (std::size_t e = 0; e < edges.size(); ++e) {
    std::vector<plan::Edge> fewer = edges;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(e));
    bool shows = false;
    bench.replay(fewer, 1, 300, inputs, &want, &shows);
    EXPECT_TRUE(shows) << "edge " << edges[e].from << " -> " << edges[e].to << " isn't needed";
  }
  seed(0);
}

// ---- mutants of kernels ----

struct Barrier {
  std::string file;
  int line = 0;
};

/// Every barrier in the sources of kernels.
std::vector<Barrier> barriers() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(MONOGRAPH_KERNELS)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  const std::regex barrier("^[^/]*__sync(threads|warp)\\s*\\(");
  std::vector<Barrier> found;
  for (const fs::path& file : files) {
    std::ifstream in(file);
    std::string text;
    for (int line = 1; std::getline(in, text); ++line) {
      if (std::regex_search(text, barrier)) found.push_back({file.filename().string(), line});
    }
  }
  return found;
}

/// One operator each, at a size that takes several warps and several steps of a thread.
std::vector<std::pair<Program, Tensors>> operators() {
  std::vector<std::pair<Program, Tensors>> all;
  const auto add = [&](Tensors inputs, const ForwardFn& forward) {
    Module module;
    module.forward = forward;
    all.emplace_back(trace(module, inputs), inputs);
  };
  const at::Tensor rows = at::randn({3, 1500});
  const at::Tensor scale = at::randn({1500});
  add({rows}, [](const Tensors& in) -> Tensors { return {at::softmax(in[0], -1)}; });
  add({rows}, [](const Tensors& in) -> Tensors { return {at::log_softmax(in[0], -1)}; });
  add({rows, scale},
      [](const Tensors& in) -> Tensors { return {at::layer_norm(in[0], {1500}, in[1], in[1])}; });
  add({rows, scale},
      [](const Tensors& in) -> Tensors { return {at::rms_norm(in[0], {1500}, in[1], 1e-5)}; });
  add({rows}, [](const Tensors& in) -> Tensors { return {std::get<0>(in[0].topk(5))}; });
  add({rows}, [](const Tensors& in) -> Tensors { return {in[0].sum(-1)}; });
  add({rows}, [](const Tensors& in) -> Tensors { return {in[0].mean(0)}; });
  add({rows}, [](const Tensors& in) -> Tensors { return {in[0].amax(-1)}; });
  add({rows}, [](const Tensors& in) -> Tensors { return {in[0].argmax(-1)}; });
  add({rows}, [](const Tensors& in) -> Tensors { return {std::get<0>(in[0].max(-1))}; });
  add({rows}, [](const Tensors& in) -> Tensors { return {in[0].cumsum(-1)}; });
  add({rows, at::randn({70, 1500})},
      [](const Tensors& in) -> Tensors { return {at::linear(in[0], in[1])}; });
  add({at::randn({64, 64}).to(at::kBFloat16), at::randn({64, 64}).to(at::kBFloat16)},
      [](const Tensors& in) -> Tensors { return {at::matmul(in[0], in[1])}; });
  add({at::randn({1, 2, 40, 16}), at::randn({1, 2, 40, 16})}, [](const Tensors& in) -> Tensors {
    return {at::scaled_dot_product_attention(in[0], in[1], in[1])};
  });
  return all;
}

/// Runs `program` with kernels compiled as the environment says; false if the device refuses, or
/// gives another answer than the host.
bool runs_right(const std::pair<Program, Tensors>& op, const std::string& defines, bool races) {
  ::setenv("VGPU_DEFINES", defines.c_str(), 1);
  ::setenv("VGPU_RACES", races ? "1" : "", 1);
  ::setenv("MONOGRAPH_CACHE", "", 1);  // mutants are never kept
  bool right = true;
  try {
    Options host;
    host.backend = "host";
    const auto want = Executable::build(op.first, host).replay(op.second);
    Executable device = Executable::build(op.first, cuda_options());
    for (std::uint64_t s = 0; s < 5 && right; ++s) {
      seed(s);
      const auto got = device.replay(op.second);
      for (std::size_t i = 0; i < got.size(); ++i) {
        right &= at::allclose(got[i].to(at::kDouble), want[i].to(at::kDouble), 2e-2, 2e-2);
      }
    }
  } catch (const Error&) {
    right = false;
  }
  control<decltype(&vgpu_reset)>("vgpu_reset")();
  seed(0);
  ::unsetenv("VGPU_DEFINES");
  ::unsetenv("VGPU_RACES");
  ::unsetenv("MONOGRAPH_CACHE");
  return right;
}

TEST(Mutants, RemovingAnyBarrierOfAnyKernelShows) {
  const auto all = operators();
  for (const auto& op : all) ASSERT_TRUE(runs_right(op, "", true)) << op.first.text();
  for (const Barrier& b : barriers()) {
    const std::string at = b.file + ":" + std::to_string(b.line);
    const std::string place =
        "-DVGPU_MUTATE_LINE=" + std::to_string(b.line) + " '-DVGPU_MUTATE_FILE=\"" + b.file + "\"'";
    const auto op = std::ranges::find_if(
        all, [&](const auto& o) { return !runs_right(o, place + " -DVGPU_MUTATE_STOP=1", false); });
    if (op == all.end()) {
      ADD_FAILURE() << "no operator of this test reaches the barrier at " << at;
      continue;
    }
    EXPECT_FALSE(runs_right(*op, place + " -DVGPU_MUTATE_STOP=0", true))
        << "the barrier at " << at << " isn't needed";
  }
}

}  // namespace
}  // namespace monograph::test
