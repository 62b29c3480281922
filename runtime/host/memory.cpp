#include "runtime/host/memory.h"

#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/ScalarTypeToTypeMeta.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <monograph/error.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "capture/ir/text.h"
#include "capture/trace/convert.h"

namespace monograph::host {
namespace {

/// A storage that points to memory somebody else owns and can't grow.
c10::Storage borrowed_storage(void* data, std::int64_t bytes) {
  return c10::Storage(c10::Storage::use_byte_size_t(), static_cast<std::size_t>(bytes),
                      c10::DataPtr(data, at::kCPU), nullptr, /*resizable=*/false);
}

bool same_layout(const at::Tensor& t, const ir::TensorType& type) {
  if (t.scalar_type() != trace::scalar_type_of(type.dtype) ||
      t.sizes() != at::IntArrayRef(type.sizes)) {
    return false;
  }
  for (std::size_t d = 0; d < type.sizes.size(); ++d) {
    if (type.sizes[d] > 1 && t.stride(static_cast<std::int64_t>(d)) != type.strides[d]) {
      return false;
    }
  }
  return true;
}

void check_weight(const ir::Node& node, const at::Tensor& t) {
  if (!t.defined() || t.layout() != at::kStrided || !t.device().is_cpu()) {
    throw Error(Code::kInvalidArgument,
                fmt::format("weight '{}' must be a dense CPU tensor", node.target()), node.name());
  }
  if (!same_layout(t, node.type())) {
    throw Error(Code::kInvalidArgument,
                fmt::format("weight '{}': expected {}, got {}[{}] with strides [{}]", node.target(),
                            ir::text(node.type()), c10::toString(t.scalar_type()),
                            fmt::join(t.sizes(), ","), fmt::join(t.strides(), ",")),
                node.name());
  }
}

}  // namespace

at::Tensor tensor_over(const c10::Storage& storage, const ir::TensorType& type,
                       std::int64_t byte_offset) {
  const c10::InferenceMode mode;
  const auto dtype = c10::scalarTypeToTypeMeta(trace::scalar_type_of(type.dtype));
  auto t = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(storage), c10::DispatchKeySet(c10::DispatchKey::CPU), dtype);
  const auto itemsize = static_cast<std::int64_t>(dtype.itemsize());
  if (byte_offset % itemsize != 0) {
    throw Error(Code::kInvalidGraph,
                fmt::format("{} would start {} bytes into its storage, which isn't a whole number "
                            "of elements",
                            ir::text(type), byte_offset));
  }
  t.unsafeGetTensorImpl()->set_sizes_and_strides(type.sizes, type.strides,
                                                 type.offset + byte_offset / itemsize);
  return t;
}

void Memory::Free::operator()(std::byte* p) const noexcept {
  std::free(p);
}

Memory::Memory(const exec::Planned& planned) {
  for (const ir::Storage& storage : planned.graph->storages()) {
    if (storage.device.type == ir::DeviceType::kCpu) continue;
    throw Error(Code::kInvalidOption,
                fmt::format("back end 'host' runs tensors on cpu; '{}' is on {}",
                            storage.name.empty() ? "an intermediate" : storage.name,
                            ir::to_string(storage.device)));
  }
  // Never empty, so that tensors without elements have an address too.
  const auto alignment = static_cast<std::size_t>(plan::kAlignment);
  arena_bytes_ = std::max(static_cast<std::size_t>(planned.plan.arena_bytes), alignment);
  arena_bytes_ = (arena_bytes_ + alignment - 1) / alignment * alignment;
  arena_.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, arena_bytes_)));
  if (!arena_) {
    throw Error(Code::kDeviceOutOfMemory,
                fmt::format("no {} bytes of memory for the arena", arena_bytes_));
  }
  std::memset(arena_.get(), 0, arena_bytes_);
  slots_.resize(planned.graph->storages().size());
  bind_weights(planned);
  bind_buffers(planned);
  bind_ports(planned.lowered.inputs, inputs_);
  bind_ports(planned.lowered.outputs, outputs_);
  workspaces_.resize(planned.lowered.launches.size(), nullptr);
  for (const plan::Launch& launch : planned.plan.problem.launches) {
    if (launch.workspace_bytes == 0) continue;
    workspaces_[static_cast<std::size_t>(launch.id)] =
        arena_.get() + planned.plan.workspace_offset_of(launch.id);
  }
}

void Memory::bind_weights(const exec::Planned& planned) {
  for (const auto& node : planned.graph->nodes()) {
    if (node->kind() != ir::NodeKind::kGetAttr) continue;
    const auto found = planned.weights.find(node->target());
    if (found == planned.weights.end()) {
      throw Error(Code::kInvalidArgument, fmt::format("no weight named '{}'", node->target()),
                  node->name());
    }
    const at::Tensor& t = found->second;
    check_weight(*node, t);
    const std::int64_t shift =
        (t.storage_offset() - node->type().offset) * static_cast<std::int64_t>(t.itemsize());
    Slot& slot = slots_[static_cast<std::size_t>(node->storage())];
    if (!slot.storage) {
      slot = {t.storage(), shift};
    } else if (slot.storage.unsafeGetStorageImpl() != t.storage().unsafeGetStorageImpl() ||
               slot.byte_offset != shift) {
      throw Error(Code::kInvalidArgument,
                  fmt::format("weight '{}' should share memory with another weight, but doesn't",
                              node->target()),
                  node->name());
    }
  }
}

void Memory::bind_buffers(const exec::Planned& planned) {
  for (const plan::Buffer& buffer : planned.plan.problem.buffers) {
    const auto id =
        static_cast<std::size_t>(planned.lowered.storage_of[static_cast<std::size_t>(buffer.id)]);
    switch (buffer.kind) {
      case plan::BufferKind::kWeight:
      case plan::BufferKind::kState:
        break;  // bind_weights has them
      case plan::BufferKind::kInput:
      case plan::BufferKind::kOutput:
        slots_[id].storage = borrowed_storage(arena_.get(), buffer.bytes);
        break;
      case plan::BufferKind::kIntermediate:
        slots_[id].storage =
            borrowed_storage(arena_.get() + planned.plan.offset_of(buffer.id), buffer.bytes);
        break;
    }
  }
}

void Memory::bind_ports(const std::vector<const ir::Node*>& nodes, std::vector<Port>& ports) {
  for (const ir::Node* node : nodes) {
    Port port;
    const Slot& slot = slots_[static_cast<std::size_t>(node->storage())];
    if (slot.storage) {
      port.storage = slot.storage.unsafeGetStorageImpl();
      port.offset =
          static_cast<std::size_t>(node->type().offset * ir::itemsize(node->type().dtype));
    }
    ports.push_back(port);
  }
}

at::Tensor Memory::tensor(const ir::Value& value) const {
  if (value.storage == ir::kNoStorage) return {};
  const Slot& slot = slots_.at(static_cast<std::size_t>(value.storage));
  if (!slot.storage) return {};  // nothing reads or writes it
  return tensor_over(slot.storage, value.type, slot.byte_offset);
}

void Memory::point_input(std::size_t index, const at::Tensor& t) noexcept {
  const Port& port = inputs_[index];
  if (port.storage == nullptr) return;
  const auto* impl = t.unsafeGetTensorImpl();
  const auto* base = static_cast<const std::byte*>(impl->unsafe_storage().data());
  const std::size_t start = static_cast<std::size_t>(impl->storage_offset()) * impl->itemsize();
  // LibTorch storages know no const; kernels only read inputs (the plan says so).
  auto* data = const_cast<std::byte*>(base) + start - port.offset;
  port.storage->set_data_ptr_noswap(c10::DataPtr(data, at::kCPU));
}

void Memory::point_output(std::size_t index, const at::Tensor& t) noexcept {
  const Port& port = outputs_[index];
  if (port.storage == nullptr) return;
  auto* data = static_cast<std::byte*>(t.mutable_data_ptr());
  port.storage->set_data_ptr_noswap(c10::DataPtr(data - port.offset, at::kCPU));
}

std::byte* Memory::workspace(plan::LaunchId launch) const {
  return workspaces_[static_cast<std::size_t>(launch)];
}

void Memory::poison() noexcept {
  std::memset(arena_.get(), 0xFF, arena_bytes_);
}

}  // namespace monograph::host
