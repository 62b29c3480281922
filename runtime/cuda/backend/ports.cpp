// Where a graph finds its inputs and leaves its results.
#include <algorithm>
#include <set>

#include "runtime/cuda/backend/binder.h"

namespace monograph::cuda {
namespace {

/// Launches that touch each buffer, and whether a library call is among them.
struct Touch {
  std::size_t launches = 0;
  bool library = false;
};
std::vector<Touch> touches(const exec::Planned& planned) {
  std::vector<Touch> out(planned.plan.problem.buffers.size());
  for (const plan::Launch& l : planned.plan.problem.launches) {
    const bool library =
        planned.lowered.launches[static_cast<std::size_t>(l.id)].kind != lower::LaunchKind::kKernel;
    std::set<plan::BufferId> all(l.reads.begin(), l.reads.end());
    all.insert(l.writes.begin(), l.writes.end());
    for (const plan::BufferId b : all) {
      ++out[static_cast<std::size_t>(b)].launches;
      out[static_cast<std::size_t>(b)].library |= library;
    }
  }
  return out;
}

Port make_port(const ir::TensorType& type, const Touch& touch, bool host_tensors) {
  Port port;
  port.begin = type.offset * ir::itemsize(type.dtype);
  port.bytes = std::max<std::int64_t>(0, type.storage_extent() - port.begin);
  port.direct = !host_tensors && !touch.library && touch.launches <= kMaxPatchedNodes;
  return port;
}

}  // namespace

void plan_ports(const exec::Planned& planned, bool host_tensors, const DeviceSession& session,
                DeviceMemory& memory) {
  const std::vector<Touch> touch = touches(planned);
  const auto make = [&](const ir::Node& node) {
    const auto buffer = planned.lowered.buffer_of[static_cast<std::size_t>(node.storage())];
    Port port = make_port(node.type(), touch[static_cast<std::size_t>(buffer)], host_tensors);
    if (!port.direct && port.bytes > 0) {
      memory.owned.push_back(DeviceBuffer::allocate(
          session.context(), static_cast<std::size_t>(port.bytes), "staging of " + node.name()));
      port.fixed = memory.owned.back().get();
    }
    return port;
  };
  for (const ir::Node* n : planned.lowered.inputs) memory.inputs.push_back(make(*n));
  for (const ir::Node* n : planned.lowered.outputs) memory.outputs.push_back(make(*n));
}

void place_examples(const exec::Planned& planned, const DeviceMemory& memory, const Ports& ports,
                    const Driver& driver, CUstream stream) {
  for (std::size_t i = 0; i < planned.examples.size(); ++i) {
    const at::Tensor& t = planned.examples[i];
    const auto room = static_cast<std::size_t>(memory.inputs[i].bytes);
    if (!t.defined() || room == 0) continue;
    driver.MemcpyHtoDAsync(ports.inputs[i], t.const_data_ptr(), std::min(room, t.nbytes()), stream);
  }
}

}  // namespace monograph::cuda
