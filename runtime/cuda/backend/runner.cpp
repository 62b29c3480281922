// The CUDA back end's runner: one device graph per executable, or the same plan on a stream.
#include <fmt/format.h>
#include <monograph/error.h>

#include <algorithm>
#include <map>

#include "kernels/compile/source.h"
#include "runtime/cuda/backend/binder.h"
#include "runtime/cuda/backend/session.h"
#include "runtime/exec/backend.h"

namespace monograph::cuda {
namespace {

constexpr std::uintptr_t kPortAlignment = 16;

bool on_cpu(const std::vector<TensorSpec>& specs) {
  return std::ranges::any_of(specs, [](const TensorSpec& s) { return s.device.is_cpu(); });
}

CUdeviceptr device_pointer(const at::Tensor& t) {
  return reinterpret_cast<CUdeviceptr>(t.const_data_ptr());
}

class CudaRunner final : public exec::Runner {
 public:
  CudaRunner(const exec::Planned& planned, const Options& options,
             std::shared_ptr<DeviceSession> session)
      : planned_(planned), session_(std::move(session)) {
    session_->check_alive();
    const CurrentContext current(*session_->context());
    host_tensors_ = on_cpu(planned.inputs) || on_cpu(planned.outputs);
    provider_ = find_aten_provider(session_->context()->driver());
    memory_.arena = session_->arena()->ensure(static_cast<std::size_t>(planned.plan.arena_bytes),
                                              planned.graph->name());
    place_weights();
    plan_ports(planned, host_tensors_, *session_, memory_);
    Bound bound = bind_plan(planned, *session_, memory_, provider_);
    libraries_ = std::move(bound.libraries);
    launches_ = std::move(bound.launches);
    instances_ = std::move(bound.instances);
    done_ = Event::create(session_->context());
    build(std::move(bound), options);
  }

  ~CudaRunner() override {
    // Buffers and kernels must outlive the work in flight; a lost context has none.
    const CurrentContext current(*session_->context(), CurrentContext::kNoThrow);
    if (done_.recorded()) (void)session_->context()->driver().EventSynchronize.raw(done_.get());
  }

  void run(const std::vector<at::Tensor>& inputs, const std::vector<at::Tensor>& outputs) override;

  bool run_timed(const std::vector<at::Tensor>& inputs, const std::vector<at::Tensor>& outputs,
                 std::vector<double>& microseconds) override {
    microseconds.assign(planned_.lowered.launches.size(), 0);
    return run_with(inputs, outputs,
                    [&](CUstream s) { return plan_->launch_timed(ports_, s, microseconds); });
  }
  std::vector<exec::KernelSource> sources() const override;
  std::vector<std::string> dump_stages() const override {
    return {"graph_nodes", "kernels", "device"};
  }
  std::string dump(std::string_view stage) const override;

 private:
  /// A replay whose works `launch` enqueues; its result.
  template <class Launch>
  bool run_with(const std::vector<at::Tensor>& inputs, const std::vector<at::Tensor>& outputs,
                Launch launch);
  std::string device_text() const;
  void place_weights();
  void build(Bound bound, const Options& options);
  void prove(const std::vector<DeviceBuffer>& scratch);
  CUstream stream() const {
    const CUstream theirs =
        provider_ != nullptr ? provider_->current_stream(*session_->context()) : nullptr;
    return host_tensors_ || theirs == nullptr ? session_->stream() : theirs;
  }
  CUdeviceptr port_address(const at::Tensor& t, std::size_t slot, CUstream stream);
  void copy_in(const std::vector<at::Tensor>& inputs, CUstream stream);
  void copy_out(const std::vector<at::Tensor>& outputs, CUstream stream);

  const exec::Planned& planned_;
  std::shared_ptr<DeviceSession> session_;
  const AtenProvider* provider_ = nullptr;
  bool host_tensors_ = false;
  DeviceMemory memory_;
  std::vector<Library> libraries_;
  std::vector<LaunchInfo> launches_;
  std::vector<kernels::Instance> instances_;
  std::vector<DeviceBuffer> realigned_;  // by input slot, made when first needed
  Ports ports_;
  Event done_;
  std::unique_ptr<PlanRunner> plan_;  // destroyed before libraries and memory
};

void CudaRunner::place_weights() {
  const Driver& driver = session_->context()->driver();
  for (const auto& [name, tensor] : planned_.weights) {
    const auto& storage = tensor.storage();
    if (!tensor.device().is_cpu()) {
      memory_.weights[name] = reinterpret_cast<CUdeviceptr>(storage.data());
      continue;
    }
    if (storage.nbytes() == 0) {
      memory_.weights[name] = 0;
      continue;
    }
    DeviceBuffer buffer =
        DeviceBuffer::allocate(session_->context(), storage.nbytes(), "weight " + name);
    driver.MemcpyHtoDAsync(buffer.get(), storage.data(), storage.nbytes(), session_->stream());
    memory_.weights[name] = buffer.get();
    memory_.owned.push_back(std::move(buffer));
  }
  driver.StreamSynchronize(session_->stream());
}

void CudaRunner::build(Bound bound, const Options& options) {
  // Direct ports have no address before the first call; zeroed memory stands in, which is a valid
  // index for every embedding.
  std::vector<DeviceBuffer> scratch;
  const auto stand_in = [&](const std::vector<Port>& ports, std::vector<CUdeviceptr>& out) {
    for (const Port& p : ports) {
      if (p.bytes == 0 || host_tensors_) {
        out.push_back(p.fixed);
        continue;
      }
      scratch.push_back(DeviceBuffer::allocate(session_->context(),
                                               static_cast<std::size_t>(p.bytes), "stand-in"));
      session_->context()->driver().MemsetD8Async(
          scratch.back().get(), 0, static_cast<std::size_t>(p.bytes), session_->stream());
      out.push_back(scratch.back().get());
    }
  };
  stand_in(memory_.inputs, ports_.inputs);
  stand_in(memory_.outputs, ports_.outputs);
  if (host_tensors_) {
    for (const Port& p : memory_.inputs) {
      if (p.bytes == 0) continue;
      session_->context()->driver().MemsetD8Async(p.fixed, 0, static_cast<std::size_t>(p.bytes),
                                                  session_->stream());
    }
  }
  plan_ = options.graph_mode == GraphMode::kFull
              ? build_plan_graph(session_->context(), std::move(bound.works), bound.edges, ports_,
                                 session_->stream())
              : build_plan_stream(session_->context(), std::move(bound.works));
  prove(scratch);
}

/// The first replay pays for lazy work inside the driver; it belongs to building. Skipped where it
/// would update declared state.
void CudaRunner::prove(const std::vector<DeviceBuffer>&) {
  const bool has_state = std::ranges::any_of(planned_.plan.problem.buffers, [](const auto& b) {
    return b.kind == plan::BufferKind::kState;
  });
  const CUstream s = session_->stream();
  if (!has_state) {
    session_->enter(s);
    plan_->launch(ports_, s);
    session_->leave(s);
  }
  session_->context()->driver().StreamSynchronize(s);
}

CUdeviceptr CudaRunner::port_address(const at::Tensor& t, std::size_t slot, CUstream stream) {
  const CUdeviceptr p = device_pointer(t);
  const Port& port = memory_.inputs[slot];
  if (!port.direct || p % kPortAlignment == 0) return p;
  // Kernels load 16 bytes at a time: an input that starts elsewhere is copied to where it doesn't.
  if (realigned_.size() <= slot) realigned_.resize(slot + 1);
  const auto bytes = static_cast<std::size_t>(port.bytes);
  if (!realigned_[slot]) {
    realigned_[slot] = DeviceBuffer::allocate(session_->context(), bytes, "realigned input");
  }
  session_->context()->driver().MemcpyDtoDAsync(realigned_[slot].get(), p, bytes, stream);
  return realigned_[slot].get();
}

void CudaRunner::copy_in(const std::vector<at::Tensor>& inputs, CUstream stream) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Port& port = memory_.inputs[i];
    if (port.bytes == 0) continue;
    session_->context()->driver().MemcpyHtoDAsync(port.fixed, inputs[i].const_data_ptr(),
                                                  static_cast<std::size_t>(port.bytes), stream);
  }
}

void CudaRunner::copy_out(const std::vector<at::Tensor>& outputs, CUstream stream) {
  const Driver& driver = session_->context()->driver();
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Port& port = memory_.outputs[i];
    if (port.bytes == 0) continue;
    driver.MemcpyDtoHAsync(outputs[i].mutable_data_ptr(), port.fixed,
                           static_cast<std::size_t>(port.bytes), stream);
  }
  driver.StreamSynchronize(stream);
}

void CudaRunner::run(const std::vector<at::Tensor>& inputs,
                     const std::vector<at::Tensor>& outputs) {
  run_with(inputs, outputs, [this](CUstream s) {
    plan_->launch(ports_, s);
    return true;
  });
}

template <class Launch>
bool CudaRunner::run_with(const std::vector<at::Tensor>& inputs,
                          const std::vector<at::Tensor>& outputs, Launch launch) {
  session_->check_alive();
  const CurrentContext current(*session_->context());
  const CUstream s = stream();
  session_->enter(s);
  if (host_tensors_) {
    copy_in(inputs, s);
  } else {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      ports_.inputs[i] = port_address(inputs[i], i, s);
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      ports_.outputs[i] = device_pointer(outputs[i]);
    }
  }
  const bool launched = launch(s);
  done_.record(s);
  session_->leave(s);
  if (host_tensors_ && launched) copy_out(outputs, s);
  return launched;
}

/// One file per distinct kernel: constants as they were defined, then the source.
std::vector<exec::KernelSource> CudaRunner::sources() const {
  std::vector<exec::KernelSource> out;
  std::map<std::string, std::size_t> known;  // text -> index
  for (const LaunchInfo& launch : launches_) {
    if (launch.instance < 0) continue;
    const kernels::Instance& instance = instances_[static_cast<std::size_t>(launch.instance)];
    std::string text = fmt::format("// {}, entry {}\n", instance.kernel, instance.entry);
    for (const auto& [name, value] : instance.constants) {
      text += fmt::format("#define {} {}\n", name, value);
    }
    text += kernels::source_set(instance).text;
    const auto [at, fresh] = known.emplace(std::move(text), out.size());
    if (fresh) {
      out.push_back({fmt::format("{:02}_{}.cu", out.size(), instance.kernel), at->first, {}});
    }
    out[at->second].nodes.push_back(launch.node);
  }
  return out;
}

std::string CudaRunner::dump(std::string_view stage) const {
  if (stage == "graph_nodes") return plan_->text();
  if (stage == "device") return device_text();
  std::string s;
  for (const LaunchInfo& l : launches_) {
    s += fmt::format("%{}: {} registers={} local={} predicted={:.2f}us bytes={:.0f}\n", l.node,
                     l.implementation, l.resources.registers, l.resources.local_bytes,
                     l.predicted_us, l.bytes);
  }
  return s;
}

std::string CudaRunner::device_text() const {
  const Driver& driver = session_->context()->driver();
  const GraphReport& r = plan_->report();
  return fmt::format(
      "Device {} ({}), driver {}.{}\n"
      "  {}: {} kernels, {} library calls with {} kernels, {} copies, {} fills\n"
      "  {} edges ({} programmatic), built in {:.2f} ms, instantiated in {:.2f} ms\n"
      "  arena {} bytes committed for all shapes",
      session_->context()->info().name, session_->target().arch, driver.version() / 1000,
      driver.version() % 1000 / 10, r.instantiate_ms > 0 ? "one graph" : "a stream", r.kernel_nodes,
      r.child_graphs, r.captured_kernels, r.copy_nodes, r.fill_nodes, r.edges, r.programmatic_edges,
      r.build_ms, r.instantiate_ms, session_->arena()->committed());
}

DeviceSession& as_session(const std::shared_ptr<void>& session) {
  return *static_cast<DeviceSession*>(session.get());
}

const exec::BackendRegistration kCuda({
    .name = "cuda",
    .choose = {},
    .concurrency = plan::Concurrency::kGraph,
    .unavailable = [](const Options& o) { return Driver::why_unavailable(driver_library(o)); },
    .build = [](const exec::Planned& planned,
                const Options& options) -> std::unique_ptr<exec::Runner> {
      return std::make_unique<CudaRunner>(planned, options,
                                          std::static_pointer_cast<DeviceSession>(planned.session));
    },
    .open_session = [](const Options& o) -> std::shared_ptr<void> {
      return DeviceSession::open(o);
    },
    .choose_for = [](const std::shared_ptr<void>& session) -> lower::Chooser {
      return [session](const ir::Node& node) { return choose(node, as_session(session).target()); };
    },
});

}  // namespace
}  // namespace monograph::cuda
