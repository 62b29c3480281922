#include "runtime/cuda/backend/binder.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include <algorithm>
#include <functional>

#include "runtime/cuda/backend/attention_call.h"
#include "runtime/cuda/backend/convert_call.h"
#include "runtime/cuda/backend/prefer.h"
#include "runtime/cuda/backend/rivals.h"
#include "runtime/cuda/library/match.h"
#include "runtime/plan/dependencies.h"

namespace monograph::cuda {
namespace {

/// The byte address of an element-offset in a buffer of the plan, as nodes will see it.
class Addresses {
 public:
  Addresses(const exec::Planned& planned, DeviceMemory& memory)
      : planned_(planned), memory_(memory) {}

  Address of(const ir::Value& value) const {
    const std::int64_t byte = value.type.offset * ir::itemsize(value.type.dtype);
    return at(value.storage, byte);
  }

  /// For library call `node`, which needs an address that stays.
  CUdeviceptr storage_base(const ir::Value& value, const std::string& node) {
    const Address a = at(value.storage, 0);
    if (a.base == Address::Base::kWeight) {
      const auto slot = static_cast<std::size_t>(a.slot);
      memory_.weights[slot].library_node = node;
      return memory_.weight_addresses[slot] + a.value;
    }
    if (a.moves()) throw Error(Code::kInternal, "a library call touches a port that moves");
    return a.value;
  }

 private:
  Address at(ir::StorageId storage, std::int64_t byte) const {
    const plan::BufferId id = planned_.lowered.buffer_of[static_cast<std::size_t>(storage)];
    const plan::Buffer& buffer = planned_.plan.problem.buffers[static_cast<std::size_t>(id)];
    switch (buffer.kind) {
      case plan::BufferKind::kIntermediate:
        return Address::fixed(memory_.arena +
                              static_cast<CUdeviceptr>(planned_.plan.offset_of(id) + byte));
      case plan::BufferKind::kWeight:
      case plan::BufferKind::kState:
        return Address::weight(weight_slot(buffer.name), static_cast<std::uint64_t>(byte));
      case plan::BufferKind::kInput:
        return in_port(memory_.inputs, buffer, byte, Address::input);
      case plan::BufferKind::kOutput:
        return in_port(memory_.outputs, buffer, byte, Address::output);
    }
    throw Error(Code::kInternal, "unknown kind of buffer");
  }

  std::int32_t weight_slot(const std::string& name) const {
    const auto it = std::ranges::lower_bound(memory_.weights, name, {}, &Weight::name);
    if (it == memory_.weights.end() || it->name != name) {
      throw Error(Code::kInternal, fmt::format("no memory for weight '{}'", name));
    }
    return static_cast<std::int32_t>(it - memory_.weights.begin());
  }

  template <class Make>
  Address in_port(const std::vector<Port>& ports, const plan::Buffer& buffer, std::int64_t byte,
                  Make make) const {
    const Port& port = ports[static_cast<std::size_t>(buffer.slot)];
    const auto offset = static_cast<std::uint64_t>(byte - port.begin);
    return port.direct ? make(buffer.slot, offset) : Address::fixed(port.fixed + offset);
  }

  const exec::Planned& planned_;
  DeviceMemory& memory_;
};

struct Pending {  // a kernel launch whose code is not loaded yet
  std::size_t work = 0;
  std::size_t instance = 0;
};

class Binder {
 public:
  Binder(const exec::Planned& planned, const DeviceSession& session, DeviceMemory& memory,
         const AtenProvider* provider, CUstream stream)
      : planned_(planned),
        session_(session),
        memory_(memory),
        provider_(provider),
        stream_(stream),
        addresses_(planned, memory) {}

  Bound bind() {
    for (const lower::Launch& launch : planned_.lowered.launches) bind_launch(launch);
    batch_inputs();
    load_kernels();
    add_staging();
    bound_.instances = std::move(instances_);
    return std::move(bound_);
  }

 private:
  void bind_launch(const lower::Launch& launch) {
    Work work{launch.id, launch.node->name(), EmptyWork{}};
    LaunchInfo info{launch.node->name(), launch.implementation, {}, {}, 0, 0, -1};
    if (!is_empty(*launch.node)) {
      if (launch.kind == lower::LaunchKind::kKernel) {
        bind_kernel(launch, work, info);
      } else if (launch.kind == lower::LaunchKind::kLibrary &&
                 launch.implementation != kLibraryAttention) {
        bind_math(launch, work, info);
      } else {
        bind_library(launch, work, info);
      }
    }
    bound_.works.push_back(std::move(work));
    bound_.launches.push_back(std::move(info));
  }

  /// Nothing to compute: neither a result nor what is written in place has elements.
  static bool is_empty(const ir::Node& node) {
    const auto without_elements = [](const ir::Node& n) {
      return std::ranges::all_of(n.values(),
                                 [](const ir::Value& v) { return v.type.numel() == 0; });
    };
    return without_elements(node) &&
           std::ranges::all_of(node.writes(),
                               [&](const ir::Node* written) { return without_elements(*written); });
  }

  void bind_kernel(const lower::Launch& launch, Work& work, LaunchInfo& info) {
    std::string why;
    const auto call = to_kernel_call(*launch.node, &why);
    const kernels::Definition* definition = kernels::find_definition(launch.implementation);
    if (!call || definition == nullptr) {
      throw Error(Code::kInternal, "kernel '" + launch.implementation + "' has gone", work.node);
    }
    kernels::Match match = definition->match(call->call, session_.target());
    if (!match.instance) throw Error(Code::kInternal, match.reason, work.node);
    kernels::Instance& instance = *match.instance;
    instance.kernel = definition->name;
    work.what = kernel_work(launch, *call, instance);
    info.bytes = instance.roofline.bytes;
    info.predicted_us = instance.roofline.predicted_us(session_.target());
    info.instance = static_cast<std::ptrdiff_t>(instances_.size());
    pending_.push_back({bound_.works.size(), instances_.size()});
    instances_.push_back(std::move(instance));
  }

  KernelWork geometry_of(const kernels::Instance& instance) const {
    KernelWork k;
    k.grid = instance.geometry.grid;
    k.block = instance.geometry.block;
    k.dynamic_shared_bytes = instance.geometry.dynamic_shared_bytes;
    k.programmatic = instance.geometry.programmatic && session_.target().has_programmatic_launch;
    return k;
  }

  KernelWork kernel_work(const lower::Launch& launch, const KernelCall& call,
                         const kernels::Instance& instance) {
    KernelWork k = geometry_of(instance);
    CUdeviceptr state = 0;
    if (instance.state_bytes > 0) state = zeroed(static_cast<std::size_t>(instance.state_bytes));
    for (const kernels::Param& p : instance.params) {
      k.params.push_back(param(launch, call, p, state));
    }
    return k;
  }

  ParamValue param(const lower::Launch& launch, const KernelCall& call, const kernels::Param& p,
                   CUdeviceptr state) {
    const auto index = static_cast<std::size_t>(p.index);
    const auto offset = static_cast<std::uint64_t>(p.byte_offset);
    Address a;
    switch (p.kind) {
      case kernels::Param::Kind::kScalar:
        return p.bytes;
      case kernels::Param::Kind::kInput:
        a = addresses_.of(call.input_nodes[index]->values()[call.input_elements[index]]);
        break;
      case kernels::Param::Kind::kOutput:
        a = addresses_.of(launch.node->values()[index]);
        break;
      case kernels::Param::Kind::kWorkspace:
        a = Address::fixed(memory_.arena +
                           static_cast<CUdeviceptr>(planned_.plan.workspace_offset_of(launch.id)));
        break;
      case kernels::Param::Kind::kState:
        a = Address::fixed(state);
        break;
    }
    a.value += offset;
    return a;
  }

  CUdeviceptr zeroed(std::size_t bytes) {
    DeviceBuffer buffer = DeviceBuffer::allocate(session_.context(), bytes, "kernel state");
    session_.context()->driver().MemsetD8Async(buffer.get(), 0, bytes, stream_);
    memory_.owned.push_back(std::move(buffer));
    return memory_.owned.back().get();
  }

  /// A product or convolution that a library does, with everything fused into it.
  void bind_math(const lower::Launch& launch, Work& work, LaunchInfo& info) {
    std::string why;
    const auto call = to_kernel_call(*launch.node, &why);
    const auto match = call ? match_library(call->call, &why) : std::nullopt;
    if (!match) throw Error(Code::kInternal, "a library's call has gone: " + why, work.node);
    const LibraryPlan& plan = session_.libraries().plan(match->problem);
    LibraryAddresses at;
    for (std::size_t i = 0; i < kOperands; ++i) {
      at.operands[i] = operand(match->places[i], *call, launch);
    }
    if (plan.way.workspace_bytes > 0) {
      at.workspace =
          memory_.arena + static_cast<CUdeviceptr>(planned_.plan.workspace_offset_of(launch.id));
    }
    const NodeScope scope(work.node);
    work.what = LibraryWork{plan.library->bind(match->problem, plan.way, at)};
    info.way = plan.library->version() + " " + plan.way.name;
    const kernels::Roofline least = roofline(match->problem);
    info.bytes = least.bytes;
    info.predicted_us = least.predicted_us(session_.target());
  }

  CUdeviceptr operand(const OperandPlace& place, const KernelCall& call,
                      const lower::Launch& launch) {
    if (place.input == OperandPlace::kAbsent) return 0;
    const bool output = place.input == OperandPlace::kOutput;
    const auto i = static_cast<std::size_t>(output ? 0 : place.input);
    const ir::Value& value = output ? launch.node->values().front()
                                    : call.input_nodes[i]->values()[call.input_elements[i]];
    const std::int64_t byte =
        value.type.offset * ir::itemsize(value.type.dtype) + place.byte_offset;
    return addresses_.storage_base(value, launch.node->name()) + static_cast<CUdeviceptr>(byte);
  }

  void bind_library(const lower::Launch& launch, Work& work, LaunchInfo& info) {
    if (provider_ == nullptr) {
      throw Error(Code::kRejectedUnsupportedOp,
                  fmt::format("{} has no kernel of ours ({}) and LibTorch's CUDA half is not "
                              "available to run it",
                              launch.node->target(), launch.reason),
                  work.node);
    }
    info.bytes = launch.cost.bytes;
    info.predicted_us = launch.predicted_us;
    const auto address = [this, &launch](const ir::Value& v) {
      return addresses_.storage_base(v, launch.node->name());
    };
    aten_.push_back(launch.id);
    const std::shared_ptr<AtenShared> shared = session_.aten_shared(*provider_);
    if (launch.kind == lower::LaunchKind::kLibrary) {
      work.what = LibraryWork{
          bind_attention(*launch.node, *provider_, address, session_.context(), shared)};
      return;
    }
    info.implementation = "aten";
    work.what = LibraryWork{provider_->bind(*launch.node, address, session_.context(), shared)};
  }

  void load_kernels() {
    std::vector<const kernels::Instance*> wanted;
    for (const kernels::Instance& i : instances_) wanted.push_back(&i);
    std::vector<std::string> nodes;
    for (const Pending& p : pending_) nodes.push_back(bound_.works[p.work].node);
    const std::vector<kernels::Compiled> compiled =
        session_.compiler().compile(wanted, session_.target().arch, nodes);
    std::map<std::vector<std::byte>, std::size_t> loaded;  // image -> library
    for (const Pending& p : pending_) {
      const kernels::Compiled& c = compiled[p.instance];
      const NodeScope scope(bound_.works[p.work].node);
      const auto [it, fresh] = loaded.emplace(c.image, bound_.libraries.size());
      if (fresh) bound_.libraries.push_back(Library::load(session_.context(), c.image));
      auto& work = std::get<KernelWork>(bound_.works[p.work].what);
      work.kernel = bound_.libraries[it->second].kernel(c.entry);
      if (work.dynamic_shared_bytes > 0) {
        work.kernel.allow_dynamic_shared(work.dynamic_shared_bytes);
      }
      const plan::LaunchId launch = bound_.works[p.work].launch;
      if (launch >= 0) bound_.launches[static_cast<std::size_t>(launch)].resources = c.resources;
    }
  }

  /// One launch for small inputs that need copying; the last work, until `add_staging` moves it.
  void batch_inputs() {
    constexpr std::int64_t kSmall = 64 << 10;  // bytes beyond which a copy engine is worth a node
    kernels::Call call;
    call.op = "monograph.batched_copy";
    std::vector<const plan::Buffer*> buffers;
    for (const plan::Buffer& b : planned_.plan.problem.buffers) {
      if (b.kind != plan::BufferKind::kInput || !staged(b)) continue;
      const std::int64_t bytes = memory_.inputs[static_cast<std::size_t>(b.slot)].bytes;
      if (bytes > kSmall) continue;
      // Callers' tensors are aligned as their elements are, no better.
      const ir::Node& node = *planned_.lowered.inputs[static_cast<std::size_t>(b.slot)];
      const kernels::TensorDesc from = as_units(bytes, ir::itemsize(node.type().dtype));
      call.inputs.push_back(from);
      call.outputs.push_back(from);
      buffers.push_back(&b);
    }
    if (buffers.size() < 2) return;
    kernels::Match match = kernels::select(call, session_.target());
    if (!match.instance) return;
    Work work{-1, "inputs", EmptyWork{}};
    KernelWork k = geometry_of(*match.instance);
    for (const kernels::Param& p : match.instance->params) {
      const plan::Buffer& b = *buffers[static_cast<std::size_t>(p.index)];
      const Port& port = memory_.inputs[static_cast<std::size_t>(b.slot)];
      k.params.emplace_back(p.kind == kernels::Param::Kind::kInput ? Address::input(b.slot, 0)
                                                                   : Address::fixed(port.fixed));
    }
    work.what = std::move(k);
    pending_.push_back({bound_.works.size(), instances_.size()});
    instances_.push_back(std::move(*match.instance));
    bound_.works.push_back(std::move(work));
    for (const plan::Buffer* b : buffers) batched_.push_back(b->id);
  }

  /// `bytes` as elements of `size` bytes at most, of a type that copies don't interpret.
  static kernels::TensorDesc as_units(std::int64_t bytes, std::int64_t size) {
    using enum kernels::DType;
    const kernels::DType dtype = size >= 8 ? kI64 : size == 4 ? kI32 : size == 2 ? kI16 : kU8;
    return {dtype, {bytes / kernels::itemsize(dtype)}, {1}, kernels::itemsize(dtype)};
  }

  /// Copies between the caller's memory and staged ports, before and after the launches.
  void add_staging() {
    std::vector<Work> first;
    std::vector<Work> last;
    std::vector<std::pair<std::size_t, plan::BufferId>> in;   // index in `first`, buffer
    std::vector<std::pair<std::size_t, plan::BufferId>> out;  // index in `last`, buffer
    if (!batched_.empty()) {
      first.push_back(std::move(bound_.works.back()));
      bound_.works.pop_back();
      for (const plan::BufferId b : batched_) in.emplace_back(0, b);
    }
    for (const plan::Buffer& b : planned_.plan.problem.buffers) {
      if (!staged(b) || std::ranges::find(batched_, b.id) != batched_.end()) continue;
      const bool is_input = b.kind == plan::BufferKind::kInput;
      const Port& port =
          (is_input ? memory_.inputs : memory_.outputs)[static_cast<std::size_t>(b.slot)];
      CopyWork copy;
      copy.bytes = static_cast<std::size_t>(port.bytes);
      copy.from = is_input ? Address::input(b.slot, 0) : Address::fixed(port.fixed);
      copy.to = is_input ? Address::fixed(port.fixed) : Address::output(b.slot, 0);
      auto& list = is_input ? first : last;
      (is_input ? in : out).emplace_back(list.size(), b.id);
      list.push_back({-1, (is_input ? "input " : "output ") + b.name, copy});
    }
    splice(std::move(first), std::move(last), in, out);
  }

  bool staged(const plan::Buffer& b) const {
    if (b.kind != plan::BufferKind::kInput && b.kind != plan::BufferKind::kOutput) return false;
    const auto& ports = b.kind == plan::BufferKind::kInput ? memory_.inputs : memory_.outputs;
    const Port& port = ports[static_cast<std::size_t>(b.slot)];
    return stages_ports_ && !port.direct && port.bytes > 0;
  }

  void splice(std::vector<Work> first, std::vector<Work> last,
              const std::vector<std::pair<std::size_t, plan::BufferId>>& in,
              const std::vector<std::pair<std::size_t, plan::BufferId>>& out) {
    const auto shift = static_cast<plan::LaunchId>(first.size());
    const auto after = shift + static_cast<plan::LaunchId>(bound_.works.size());
    for (const plan::Edge& e : planned_.plan.edges) {
      bound_.edges.push_back({e.from + shift, e.to + shift});
    }
    // LibTorch's libraries have one workspace for all calls on a stream, captured ones too.
    for (std::size_t i = 1; i < aten_.size(); ++i) {
      bound_.edges.push_back({aten_[i - 1] + shift, aten_[i] + shift});
    }
    for (const plan::Launch& l : planned_.plan.problem.launches) {
      for (const auto& [index, buffer] : in) {
        if (std::ranges::binary_search(l.reads, buffer)) {
          bound_.edges.push_back({static_cast<plan::LaunchId>(index), l.id + shift});
        }
      }
      for (const auto& [index, buffer] : out) {
        if (std::ranges::binary_search(l.writes, buffer)) {
          bound_.edges.push_back({l.id + shift, after + static_cast<plan::LaunchId>(index)});
        }
      }
    }
    std::ranges::move(bound_.works, std::back_inserter(first));
    std::ranges::move(last, std::back_inserter(first));
    bound_.works = std::move(first);
    reduce_edges();
  }

  /// No edge is there twice, since a launch may read several inputs of one copy, and none that
  /// others imply: a copy's to the second reader would be a full one beside programmatic ones.
  void reduce_edges() {
    plan::Dependencies order;
    order.predecessors.resize(bound_.works.size());
    for (const plan::Edge& e : bound_.edges) {
      order.predecessors[static_cast<std::size_t>(e.to)].push_back(e.from);
    }
    for (std::vector<plan::LaunchId>& list : order.predecessors) {
      std::ranges::sort(list, std::greater<>());
      const auto twice = std::ranges::unique(list);
      list.erase(twice.begin(), twice.end());
    }
    bound_.edges = plan::reduce(order);
  }

 public:
  bool stages_ports_ = true;  ///< false: the runner itself copies between host and ports

 private:
  const exec::Planned& planned_;
  const DeviceSession& session_;
  DeviceMemory& memory_;
  const AtenProvider* provider_;
  CUstream stream_;
  Addresses addresses_;
  Bound bound_;
  std::vector<kernels::Instance> instances_;
  std::vector<Pending> pending_;
  std::vector<plan::LaunchId> aten_;     // launches that LibTorch carries out, in order
  std::vector<plan::BufferId> batched_;  // inputs that one launch copies
};

/// A library's way for the whole call; nothing with the reason if there is none.
std::optional<lower::Choice> choose_library(const kernels::Call& call, const DeviceSession& session,
                                            std::string* why) {
  const auto asked = match_library(call, why);
  if (!asked) return std::nullopt;
  const LibraryPlan& plan = session.libraries().plan(asked->problem);
  *why = plan.reason;
  if (plan.library == nullptr) return std::nullopt;
  return lower::Choice{lower::LaunchKind::kLibrary, plan.library->name(), plan.reason,
                       plan.way.workspace_bytes};
}

}  // namespace

lower::Choice choose(const ir::Node& node, const DeviceSession& session) {
  std::string why;
  const auto call = to_kernel_call(node, &why);
  if (!call) return {lower::LaunchKind::kAten, "", why, 0};
  const kernels::Match match = select_timed(call->call, session.target(), session.compiler(),
                                            session.context(), session.tuner());
  if (!match.instance || match.instance->kernel == kLibraryFirst) {
    if (auto choice = choose_library(call->call, session, &why)) return std::move(*choice);
    if (!match.instance) {
      return {lower::LaunchKind::kAten, "", fmt::format("{}; library: {}", match.reason, why), 0};
    }
  }
  std::string better = why_library(call->call, *match.instance, session.target());
  if (!better.empty()) {
    if (is_attention(*match.instance) && attention_alone(node) != nullptr) {
      return {lower::LaunchKind::kLibrary, kLibraryAttention, std::move(better), 0};
    }
    return {lower::LaunchKind::kAten, "", std::move(better), 0};
  }
  return {lower::LaunchKind::kKernel, match.instance->kernel, match.reason,
          match.instance->workspace_bytes};
}

Bound bind_plan(const exec::Planned& planned, const DeviceSession& session, DeviceMemory& memory,
                const AtenProvider* provider, CUstream stream) {
  Binder binder(planned, session, memory, provider, stream);
  // With host tensors every port is here, and the runner moves data between host and ports.
  binder.stages_ports_ =
      std::ranges::none_of(planned.inputs, [](const TensorSpec& s) { return s.device.is_cpu(); }) &&
      std::ranges::none_of(planned.outputs, [](const TensorSpec& s) { return s.device.is_cpu(); });
  return binder.bind();
}

}  // namespace monograph::cuda
