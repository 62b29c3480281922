#include "runtime/cuda/backend/weights.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include "capture/ir/text.h"

namespace monograph::cuda {
namespace {

bool same_layout(const at::Tensor& t, const ir::TensorType& type) {
  if (static_cast<std::int64_t>(t.itemsize()) != ir::itemsize(type.dtype) ||
      t.sizes() != c10::IntArrayRef(type.sizes)) {
    return false;
  }
  for (std::size_t d = 0; d < type.sizes.size(); ++d) {
    if (type.sizes[d] > 1 && t.stride(static_cast<std::int64_t>(d)) != type.strides[d]) {
      return false;
    }
  }
  return true;
}

[[noreturn]] void refuse(const ir::Node& node, const std::string& why) {
  throw Error(Code::kInvalidArgument, fmt::format("weight '{}' {}", node.target(), why),
              node.name());
}

}  // namespace

std::map<std::string, std::int64_t> weight_shifts(const exec::Planned& planned) {
  struct Place {
    const c10::StorageImpl* storage;
    std::int64_t shift;
  };
  std::map<ir::StorageId, Place> places;
  std::map<std::string, std::int64_t> shifts;
  for (const auto& node : planned.graph->nodes()) {
    if (node->kind() != ir::NodeKind::kGetAttr) continue;
    const auto found = planned.weights.find(node->target());
    if (found == planned.weights.end()) refuse(*node, "isn't there");
    const at::Tensor& t = found->second;
    if (!t.defined() || !t.has_storage() || !same_layout(t, node->type())) {
      refuse(*node, "isn't a tensor like " + ir::text(node->type()));
    }
    const std::int64_t shift =
        (t.storage_offset() - node->type().offset) * ir::itemsize(node->type().dtype);
    const c10::StorageImpl* storage = t.storage().unsafeGetStorageImpl();
    const auto [place, fresh] = places.try_emplace(node->storage(), Place{storage, shift});
    if (!fresh && (place->second.storage != storage || place->second.shift != shift)) {
      refuse(*node, "should share memory with another weight, but doesn't");
    }
    shifts[node->target()] = shift;
  }
  return shifts;
}

void StateKeeper::keep(CUdeviceptr at, std::size_t bytes, const std::string& name) {
  kept_.push_back({at, DeviceBuffer::allocate(context_, bytes, "copy of state " + name)});
  context_->driver().MemcpyDtoDAsync(kept_.back().copy.get(), at, bytes, stream_);
}

void StateKeeper::put_back() const {
  for (const Kept& k : kept_) {
    context_->driver().MemcpyDtoDAsync(k.at, k.copy.get(), k.copy.bytes(), stream_);
  }
}

void StateKeeper::restore() {
  put_back();
  context_->driver().StreamSynchronize(stream_);
  kept_.clear();
}

StateKeeper::~StateKeeper() {
  if (kept_.empty()) return;
  const Driver& driver = context_->driver();
  for (const Kept& k : kept_) {
    (void)driver.MemcpyDtoDAsync.raw(k.at, k.copy.get(), k.copy.bytes(), stream_);
  }
  (void)driver.StreamSynchronize.raw(stream_);
}

}  // namespace monograph::cuda
