// Mutants of plans, which must be found out on the virtual GPU: each edge in turn is left out.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include <optional>

#include "runtime/cuda/backend/binder.h"
#include "tests/cuda/small_bert.h"
#include "tests/cuda/virtual_device.h"

namespace monograph::test {
namespace {

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
  std::vector<plan::Edge> edges() {
    cuda::Bound bound = bind();
    for (const cuda::Work& w : bound.works) names_.push_back(w.node);
    return bound.edges;
  }
  std::string name(plan::LaunchId work) const { return names_.at(static_cast<std::size_t>(work)); }

  /// The graph with `edges`, replayed under `seed` on intermediates that start as rubbish.
  at::Tensor replay(const std::vector<plan::Edge>& edges, std::uint64_t first_seed,
                    std::uint64_t last_seed, const Tensors& inputs, const at::Tensor* expected,
                    bool* differs) {
    cuda::Bound bound = bind();
    const auto runner = cuda::build_plan_graph(session_->context(), std::move(bound.works), edges,
                                               ports_, session_->stream());
    at::Tensor out;
    for (std::uint64_t s = first_seed; s <= last_seed; ++s) {
      seed(s);
      out = once(*runner, inputs, s % 2 == 0 ? 0xff : 0x00);
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
  /// `rubbish`: what intermediates hold at the start. NaN is no number, but 0xff.. is an integer
  /// and a truth value like others.
  at::Tensor once(cuda::PlanRunner& runner, const Tensors& inputs, unsigned char rubbish) {
    const cuda::Driver& driver = session_->context()->driver();
    const CUstream s = session_->stream();
    driver.MemsetD8Async(memory_.arena, rubbish, arena_bytes(), s);
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
  std::vector<std::string> names_;
};

TEST(Mutants, RemovingAnyEdgeOfABertLayerShows) {
  const Tensors inputs = tokens(2, 8);
  const Program program = bert(bench::Attention::kExplicit, inputs);
  std::optional<Workbench> bench(program);
  const auto edges = bench->edges();
  ASSERT_GE(edges.size(), 20u);
  const at::Tensor want = bench->replay(edges, 0, 0, inputs, nullptr, nullptr);
  EXPECT_FALSE(want.isnan().any().item<bool>());
  bool differs = false;
  bench->replay(edges, 1, 40, inputs, &want, &differs);
  ASSERT_FALSE(differs);
  for (std::size_t e = 0; e < edges.size(); ++e) {
    std::vector<plan::Edge> fewer = edges;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(e));
    bool shows = false;
    try {
      bench->replay(fewer, 1, 300, inputs, &want, &shows);
    } catch (const Error& error) {
      // Rubbish taken for an index shows, too, but the device is lost.
      ASSERT_EQ(error.code(), Code::kDevicePoisoned) << error.what();
      shows = true;
      bench.reset();
      control<void (*)()>("vgpu_reset")();
      bench.emplace(program);
      bench->edges();
    }
    EXPECT_TRUE(shows) << "edge " << edges[e].from << " -> " << edges[e].to << " ("
                       << bench->name(edges[e].from) << " -> " << bench->name(edges[e].to)
                       << ") isn't needed";
  }
  seed(0);
}

}  // namespace
}  // namespace monograph::test
