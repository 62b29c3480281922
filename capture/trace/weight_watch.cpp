#include "capture/trace/weight_watch.h"

#include <ATen/ops/sum.h>

#include <set>

#include "capture/ir/graph.h"
#include "capture/trace/dispatch_key.h"
#include "capture/trace/host_memory.h"
#include "capture/trace/mapped_weights.h"
#include "capture/trace/state_snapshot.h"

namespace monograph::trace {
namespace {

/// Storages up to this size are copied before forward runs.
constexpr std::int64_t kCopiedBytes = std::int64_t{1} << 20;

std::vector<NamedTensor> tensors_now(const Module& module) {
  return module.list_tensors ? module.list_tensors() : module.tensors;
}

Rejection rebinding(const std::string& name, const std::string& what) {
  Rejection rejection;
  rejection.code = Code::kRejectedRebinding;
  rejection.subject = name;
  rejection.reason = "after forward '" + name + "' " + what +
                     ": a replay would go on reading the memory that it had while tracing";
  rejection.remedy =
      "return the new tensor and pass it back in with the next call, or write into the old one and "
      "declare it in Options::mutable_state; assign weights (set_data) outside of forward";
  return rejection;
}

}  // namespace

bool WeightWatch::State::same_place(const State& other) const noexcept {
  return storage == other.storage && data == other.data;
}

WeightWatch::State WeightWatch::state_of(const NamedTensor& named) {
  State state;
  state.name = named.name;
  state.tensor = named.tensor;
  if (!named.tensor.defined() || !named.tensor.has_storage()) return state;
  state.storage = named.tensor.storage().unsafeGetStorageImpl();
  state.data = state.storage->data();
  state.sizes = named.tensor.sizes().vec();
  state.strides = named.tensor.strides().vec();
  state.offset = named.tensor.storage_offset();
  return state;
}

std::uint64_t WeightWatch::sum_of(const at::Tensor& bytes) {
  if (bytes.device().is_cpu()) return checksum(bytes);
  // Elsewhere the device adds up words: a change that leaves the sum the same goes unseen.
  const RecordingPause pause;
  constexpr std::int64_t kWord = 8;
  const std::int64_t whole = bytes.numel() / kWord * kWord;
  std::uint64_t sum = 0;
  if (whole > 0) {
    sum += static_cast<std::uint64_t>(
        bytes.slice(0, 0, whole).view(at::kLong).sum().item<std::int64_t>());
  }
  if (whole < bytes.numel()) {
    sum += static_cast<std::uint64_t>(bytes.slice(0, whole).sum(at::kLong).item<std::int64_t>());
  }
  return sum;
}

WeightWatch::WeightWatch(const Module& module) {
  std::set<const c10::StorageImpl*> known;
  for (const NamedTensor& named : tensors_now(module)) {
    states_.push_back(state_of(named));
    const State& state = states_.back();
    if (state.data == nullptr || !known.insert(state.storage).second) continue;
    contents_.push_back(
        {states_.size() - 1, named.is_buffer, false, 0, storage_bytes(named.tensor), {}});
  }
  const RecordingPause pause;
  const MappedWeights* mapped = MappedWeights::current();
  for (Contents& c : contents_) {
    c.mapped = mapped != nullptr && mapped->hold(*states_[c.owner].storage);
    if (c.mapped) continue;
    c.sum = sum_of(c.bytes);
    if (c.bytes.numel() <= kCopiedBytes) c.copy = c.bytes.clone();
  }
}

std::optional<Rejection> WeightWatch::moved(const Module& module) const {
  const std::vector<NamedTensor> now = tensors_now(module);
  for (std::size_t i = 0; i < states_.size(); ++i) {
    const State& before = states_[i];
    if (i >= now.size() || now[i].name != before.name) {
      return rebinding(before.name, "is no longer there");
    }
    const State after = state_of(now[i]);
    if (!after.tensor.is_same(before.tensor)) {
      return rebinding(before.name, "is another tensor than before");
    }
    if (!after.same_place(before)) {
      return rebinding(before.name, "points to other memory than before");
    }
    if (after.sizes != before.sizes || after.strides != before.strides ||
        after.offset != before.offset) {
      return rebinding(before.name, "has another shape than before");
    }
  }
  if (now.size() > states_.size()) {
    return rebinding(now[states_.size()].name, "is a tensor that wasn't there before");
  }
  return std::nullopt;
}

bool WeightWatch::changed(const Contents& c) const {
  if (c.mapped) return MappedWeights::current()->written(*states_[c.owner].storage);
  return sum_of(c.bytes) != c.sum;
}

void WeightWatch::put_back() const {
  const RecordingPause pause;
  for (const Contents& c : contents_) {
    if (c.copy.defined() && changed(c)) c.bytes.copy_(c.copy);
  }
}

std::optional<Rejection> WeightWatch::written() const {
  std::optional<Rejection> first;
  for (const Contents& c : contents_) {
    if (!changed(c)) continue;
    const RecordingPause pause;
    if (c.copy.defined()) c.bytes.copy_(c.copy);
    if (first) continue;
    Rejection rejection;
    rejection.code = Code::kRejectedMutation;
    rejection.subject = states_[c.owner].name;
    rejection.reason = "after forward the memory of " +
                       std::string(c.buffer ? "buffer" : "parameter") + " '" + rejection.subject +
                       "' holds other bytes than before, though no operator wrote it: host code "
                       "did, by a pointer, and a replay runs no host code";
    rejection.remedy =
        "write with an operator and declare the tensor in Options::mutable_state, or do it "
        "outside of forward";
    first = std::move(rejection);
  }
  return first;
}

}  // namespace monograph::trace
