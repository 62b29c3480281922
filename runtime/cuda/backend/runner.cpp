// The CUDA back end's runner: one device graph per executable, or the same plan on a stream.
#include <fmt/format.h>
#include <monograph/error.h>

#include <algorithm>
#include <map>

#include "kernels/compile/source.h"
#include "runtime/cuda/backend/binder.h"
#include "runtime/cuda/backend/graph_key.h"
#include "runtime/cuda/backend/session.h"
#include "runtime/cuda/backend/weights.h"
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

/// "minilm for i64[1,32], i64[1,32]": what is being built, for messages.
std::string describe(const exec::Planned& planned) {
  std::string s = planned.graph->name();
  const char* separator = " for ";
  for (const TensorSpec& spec : planned.inputs) {
    s += separator + spec.to_string();
    separator = ", ";
  }
  return s;
}

/// Changes with every write that LibTorch knows of; 0 where it doesn't count.
std::uint32_t version_of(const at::Tensor& t) {
  return t.is_inference() ? 0 : t.unsafeGetTensorImpl()->version_counter().current_version();
}

/// Of a weight on the device, as the program counts. Kernels rely on where it begins.
CUdeviceptr first_byte(const Weight& w, const at::Tensor& tensor) {
  const CUdeviceptr at =
      reinterpret_cast<CUdeviceptr>(tensor.storage().data()) + static_cast<CUdeviceptr>(w.shift);
  if (at % kPortAlignment != 0) {
    throw Error(Code::kInvalidArgument,
                fmt::format("weight '{}' begins at an address that isn't a multiple of {} bytes: "
                            "clone it",
                            w.name, kPortAlignment));
  }
  return at;
}

/// Bytes to leave free before the copy of a weight, so that the program's first byte is aligned.
std::size_t padding_of(const Weight& w) {
  constexpr std::int64_t kUnit = plan::kAlignment;
  return static_cast<std::size_t>(((-w.shift) % kUnit + kUnit) % kUnit);
}

class CudaRunner final : public exec::Runner {
 public:
  CudaRunner(const exec::Planned& planned, const Options& options,
             std::shared_ptr<DeviceSession> session)
      : planned_(planned), session_(std::move(session)) {
    session_->check_alive();
    host_tensors_ = on_cpu(planned.inputs) || on_cpu(planned.outputs);
    provider_ = find_aten_provider(session_->context()->driver());
    try {
      build(options);
    } catch (const Error& e) {
      if (e.code() != Code::kDeviceOutOfMemory) throw;
      throw Error(e.code(), fmt::format("building {}: {}", describe(planned), e.message()),
                  e.node(), e.driver_text());
    }
  }

  ~CudaRunner() override {
    // Buffers and kernels must outlive the work in flight.
    const CurrentContext current(*session_->context(), CurrentContext::kNoThrow);
    session_->drain();
  }

  void run(const std::vector<at::Tensor>& inputs, const std::vector<at::Tensor>& outputs) override;
  void rebind_weights(const std::vector<std::string>& changed) override;

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
  void build(const Options& options);
  void build_graph(Bound bound, const StateKeeper& state, CUstream stream);
  void place_weights(CUstream stream);
  struct Upload {  // a weight whose memory here is a copy
    std::size_t slot;
    const at::Tensor* tensor;  // in planned_.weights
    std::uint32_t version;     // when it was copied
    bool state = false;        // copied before each replay
    bool written = false;      // by the plan: copied back after each replay
  };
  void upload(Upload& weight, CUstream stream);
  void upload_changed(CUstream stream);
  void download_state(CUstream stream);
  std::vector<DeviceBuffer> stand_in(CUstream stream);
  void keep_state(StateKeeper& keeper) const;
  std::string device_text() const;
  CUstream stream() const;
  CUdeviceptr aligned(const at::Tensor& t, std::size_t slot, const std::vector<Port>& ports,
                      std::vector<DeviceBuffer>& buffers);
  void point_ports(const std::vector<at::Tensor>& inputs, const std::vector<at::Tensor>& outputs,
                   CUstream stream);
  void store_misaligned(const std::vector<at::Tensor>& outputs, CUstream stream);
  void copy_in(const std::vector<at::Tensor>& inputs, CUstream stream);
  void copy_out(const std::vector<at::Tensor>& outputs, CUstream stream);

  const exec::Planned& planned_;
  std::shared_ptr<DeviceSession> session_;
  const AtenProvider* provider_ = nullptr;
  bool host_tensors_ = false;
  DeviceMemory memory_;
  std::vector<Upload> uploads_;
  std::vector<Library> libraries_;
  std::vector<LaunchInfo> launches_;
  std::vector<kernels::Instance> instances_;
  std::vector<DeviceBuffer> aligned_inputs_, aligned_outputs_;  // by slot, made when first needed
  Ports ports_;
  std::string verdict_;               // of the gate
  std::unique_ptr<PlanRunner> plan_;  // destroyed before libraries and memory
};

CUstream CudaRunner::stream() const {
  if (host_tensors_ || provider_ == nullptr) return session_->stream();
  return provider_->current_stream(*session_->context()).value_or(session_->stream());
}

/// Uploads, captures and warm-ups have a stream of their own, so that replays of other executables
/// go on; what touches the arena takes its turn.
void CudaRunner::build(const Options& options) {
  const CurrentContext current(*session_->context());
  const Stream own = Stream::create(session_->context());
  const CUstream s = own.get();
  memory_.arena = session_->arena()->ensure(static_cast<std::size_t>(planned_.plan.arena_bytes),
                                            describe(planned_));
  place_weights(s);
  plan_ports(planned_, host_tensors_, *session_, memory_);
  Bound bound = bind_plan(planned_, *session_, memory_, provider_, s);
  libraries_ = std::move(bound.libraries);
  launches_ = std::move(bound.launches);
  instances_ = std::move(bound.instances);
  const std::vector<DeviceBuffer> scratch = stand_in(s);
  DeviceSession::Turn turn(*session_, s);
  StateKeeper state(session_->context(), s);
  keep_state(state);
  if (options.graph_mode == GraphMode::kFull) {
    build_graph(std::move(bound), state, s);
  } else {
    plan_ = build_plan_stream(session_->context(), std::move(bound.works), ports_);
  }
  // The first replay pays for lazy work inside the driver; it belongs to building.
  plan_->launch(ports_, s);
  state.restore();
  // Not finished: the destructor waits, after which `own` and `scratch` may go.
}

void CudaRunner::build_graph(Bound bound, const StateKeeper& state, CUstream stream) {
  const auto key = [this] {
    return graph_key(planned_, *session_, provider_, launches_, instances_);
  };
  GatedGraph built = session_->gate().build({std::move(bound.works), std::move(bound.edges), ports_,
                                             stream, key, [&state] { state.put_back(); }});
  plan_ = std::move(built.graph);
  verdict_ = std::move(built.verdict);
  // A position that earlier replays have moved on would lead out of its cache.
  state.put_back();
}

void CudaRunner::place_weights(CUstream stream) {
  const std::map<std::string, std::int64_t> shifts = weight_shifts(planned_);
  for (const plan::Buffer& b : planned_.plan.problem.buffers) {
    if (b.kind != plan::BufferKind::kWeight && b.kind != plan::BufferKind::kState) continue;
    const bool on_host = planned_.weights.at(b.name).device().is_cpu();
    memory_.weights.push_back({b.name, on_host, shifts.at(b.name), ""});
  }
  std::ranges::sort(memory_.weights, {}, &Weight::name);
  memory_.weight_addresses.resize(memory_.weights.size());
  for (std::size_t i = 0; i < memory_.weights.size(); ++i) {
    const Weight& w = memory_.weights[i];
    const at::Tensor& tensor = planned_.weights.at(w.name);
    const std::size_t bytes = tensor.storage().nbytes();
    if (!w.uploaded) {
      memory_.weight_addresses[i] = first_byte(w, tensor);
    } else if (bytes > 0) {
      const std::size_t padding = padding_of(w);
      memory_.owned.push_back(
          DeviceBuffer::allocate(session_->context(), bytes + padding, "weight " + w.name));
      memory_.weight_addresses[i] =
          memory_.owned.back().get() + padding + static_cast<CUdeviceptr>(w.shift);
      const auto buffer =
          std::ranges::find(planned_.plan.problem.buffers, w.name, &plan::Buffer::name);
      const bool state = buffer->kind == plan::BufferKind::kState;
      const bool written =
          state && std::ranges::any_of(planned_.plan.problem.launches, [&](const auto& launch) {
            return std::ranges::binary_search(launch.writes, buffer->id);
          });
      upload(uploads_.emplace_back(Upload{i, &tensor, 0, state, written}), stream);
    }
  }
  ports_.weights = memory_.weight_addresses;
  session_->context()->driver().StreamSynchronize(stream);
}

void CudaRunner::upload(Upload& weight, CUstream stream) {
  const auto& storage = weight.tensor->storage();
  const Weight& w = memory_.weights[weight.slot];
  const NodeScope scope(w.name);
  session_->context()->driver().MemcpyHtoDAsync(
      memory_.weight_addresses[weight.slot] - static_cast<CUdeviceptr>(w.shift), storage.data(),
      storage.nbytes(), stream);
  weight.version = version_of(*weight.tensor);
}

/// Weights of a host module that LibTorch has written since they were uploaded. State is what the
/// host has: other shapes' executables and eager code write it, too.
void CudaRunner::upload_changed(CUstream stream) {
  for (Upload& weight : uploads_) {
    if (weight.state || version_of(*weight.tensor) != weight.version) upload(weight, stream);
  }
}

/// State of a host module that the replay has written is the host's again when it returns.
void CudaRunner::download_state(CUstream stream) {
  bool any = false;
  for (const Upload& weight : uploads_) {
    if (!weight.written) continue;
    const auto& storage = weight.tensor->storage();
    const Weight& w = memory_.weights[weight.slot];
    const NodeScope scope(w.name);
    session_->context()->driver().MemcpyDtoHAsync(
        storage.mutable_data(),
        memory_.weight_addresses[weight.slot] - static_cast<CUdeviceptr>(w.shift), storage.nbytes(),
        stream);
    if (!weight.tensor->is_inference()) weight.tensor->unsafeGetTensorImpl()->bump_version();
    any = true;
  }
  if (any) session_->context()->driver().StreamSynchronize(stream);
}

/// Direct ports have no address before the first call. Memory stands in with the integers that the
/// trace ran on, since counts and indices have to fit each other, or zeros.
std::vector<DeviceBuffer> CudaRunner::stand_in(CUstream stream) {
  const Driver& driver = session_->context()->driver();
  std::vector<DeviceBuffer> scratch;
  const auto place = [&](const std::vector<Port>& ports, std::vector<CUdeviceptr>& out) {
    for (const Port& p : ports) {
      const auto bytes = static_cast<std::size_t>(p.bytes);
      CUdeviceptr at = p.fixed;
      if (bytes > 0 && !host_tensors_) {
        scratch.push_back(DeviceBuffer::allocate(session_->context(), bytes, "stand-in"));
        at = scratch.back().get();
      }
      if (bytes > 0) driver.MemsetD8Async(at, 0, bytes, stream);
      out.push_back(at);
    }
  };
  place(memory_.inputs, ports_.inputs);
  place(memory_.outputs, ports_.outputs);
  place_examples(planned_, memory_, ports_, driver, stream);
  driver.StreamSynchronize(stream);
  return scratch;
}

/// Warming up and proving would update declared state.
void CudaRunner::keep_state(StateKeeper& keeper) const {
  for (const plan::Buffer& b : planned_.plan.problem.buffers) {
    if (b.kind != plan::BufferKind::kState || b.bytes == 0) continue;
    const auto it = std::ranges::lower_bound(memory_.weights, b.name, {}, &Weight::name);
    const auto slot = static_cast<std::size_t>(it - memory_.weights.begin());
    keeper.keep(memory_.weight_addresses[slot], static_cast<std::size_t>(b.bytes), b.name);
  }
}

/// Kernels load and store 16 bytes at a time: a tensor that starts elsewhere goes through a buffer.
CUdeviceptr CudaRunner::aligned(const at::Tensor& t, std::size_t slot,
                                const std::vector<Port>& ports,
                                std::vector<DeviceBuffer>& buffers) {
  const CUdeviceptr p = device_pointer(t);
  const Port& port = ports[slot];
  if (!port.direct || p % kPortAlignment == 0) return p;
  if (buffers.size() <= slot) buffers.resize(ports.size());
  if (!buffers[slot]) {
    buffers[slot] = DeviceBuffer::allocate(
        session_->context(), static_cast<std::size_t>(port.bytes), "realigned tensor");
  }
  return buffers[slot].get();
}

void CudaRunner::point_ports(const std::vector<at::Tensor>& inputs,
                             const std::vector<at::Tensor>& outputs, CUstream stream) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const CUdeviceptr at = aligned(inputs[i], i, memory_.inputs, aligned_inputs_);
    const CUdeviceptr from = device_pointer(inputs[i]);
    if (at != from) {
      session_->context()->driver().MemcpyDtoDAsync(
          at, from, static_cast<std::size_t>(memory_.inputs[i].bytes), stream);
    }
    ports_.inputs[i] = at;
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    ports_.outputs[i] = aligned(outputs[i], i, memory_.outputs, aligned_outputs_);
  }
}

void CudaRunner::store_misaligned(const std::vector<at::Tensor>& outputs, CUstream stream) {
  for (std::size_t i = 0; i < aligned_outputs_.size(); ++i) {
    const CUdeviceptr to = device_pointer(outputs[i]);
    if (ports_.outputs[i] == to) continue;
    session_->context()->driver().MemcpyDtoDAsync(
        to, ports_.outputs[i], static_cast<std::size_t>(memory_.outputs[i].bytes), stream);
  }
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
  DeviceSession::Turn turn(*session_, s);
  upload_changed(s);
  if (host_tensors_) {
    copy_in(inputs, s);
  } else {
    point_ports(inputs, outputs, s);
  }
  const bool launched = launch(s);
  if (!host_tensors_) {
    store_misaligned(outputs, s);
  } else if (launched) {
    copy_out(outputs, s);
  }
  if (launched) download_state(s);
  turn.finish();
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

void CudaRunner::rebind_weights(const std::vector<std::string>& changed) {
  session_->check_alive();
  const CurrentContext current(*session_->context());
  std::vector<CUdeviceptr> addresses = memory_.weight_addresses;
  const auto is_changed = [&changed](const std::string& name) {
    return std::ranges::find(changed, name) != changed.end();
  };
  for (std::size_t i = 0; i < memory_.weights.size(); ++i) {
    const Weight& w = memory_.weights[i];
    if (w.uploaded || !is_changed(w.name)) continue;
    addresses[i] = first_byte(w, planned_.weights.at(w.name));
    if (addresses[i] != memory_.weight_addresses[i] && !w.library_node.empty()) {
      throw Error(Code::kInvalidState,
                  fmt::format("weight '{}' is read by a captured library call, which holds its "
                              "address: copy the new values in place, or build again",
                              w.name),
                  w.library_node);
    }
  }
  const CUstream s = stream();
  DeviceSession::Turn turn(*session_, s);
  for (Upload& weight : uploads_) {
    const std::string& name = memory_.weights[weight.slot].name;
    weight.tensor = &planned_.weights.at(name);
    if (is_changed(name)) upload(weight, s);
  }
  plan_->rebind(addresses);
  memory_.weight_addresses = ports_.weights = addresses;
  // The new tensors' values are on the device when this returns.
  session_->context()->driver().StreamSynchronize(s);
  turn.finish();
}

std::string CudaRunner::dump(std::string_view stage) const {
  if (stage == "graph_nodes") return plan_->text();
  if (stage == "device") return device_text();
  std::string s;
  for (const LaunchInfo& l : launches_) {
    const kernels::Resources& r = l.resources;
    s += fmt::format(
        "%{}: {} registers={} local={} spilled={} shared={} blocks_per_sm={} predicted={:.2f}us "
        "bytes={:.0f}\n",
        l.node, l.implementation, r.registers, r.local_bytes, r.spill_stores + r.spill_loads,
        r.static_shared_bytes, r.blocks_per_multiprocessor, l.predicted_us, l.bytes);
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
      "{}{}  arena {} bytes committed for all shapes",
      session_->context()->info().name, session_->target().arch, driver.version() / 1000,
      driver.version() % 1000 / 10, r.instantiate_ms > 0 ? "one graph" : "a stream", r.kernel_nodes,
      r.child_graphs, r.captured_kernels, r.copy_nodes, r.fill_nodes, r.edges, r.programmatic_edges,
      r.build_ms, r.instantiate_ms, verdict_.empty() ? "" : "  ",
      verdict_.empty() ? "" : verdict_ + "\n", session_->arena()->committed());
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
    .option_names = {"arena", kTuningOption, kGateOption},
    .choose_for = [](const std::shared_ptr<void>& session) -> lower::Chooser {
      return [session](const ir::Node& node) { return choose(node, as_session(session)); };
    },
});

}  // namespace
}  // namespace monograph::cuda
