#include "capture/trace/weight_watch.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

#include "capture/ir/graph.h"
#include "capture/trace/dispatch_key.h"
#include "capture/trace/host_memory.h"
#include "capture/trace/mapped_weights.h"
#include "capture/trace/state_snapshot.h"

namespace monograph::trace {
namespace {

/// Storages up to this size are copied before forward runs; those of buffers, which are likelier to
/// be written, up to the second one.
constexpr std::int64_t kCopiedBytes = std::int64_t{64} << 10;
constexpr std::int64_t kCopiedBufferBytes = std::int64_t{1} << 20;

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

std::vector<bool> WeightWatch::changed_now() const {
  std::vector<at::Tensor> bytes;  // undefined where a file knows
  bytes.reserve(contents_.size());
  for (const Contents& c : contents_) bytes.push_back(c.mapped ? at::Tensor() : c.bytes);
  const std::vector<std::uint64_t> sums = sums_of(bytes);
  std::vector<bool> changed;
  for (std::size_t i = 0; i < contents_.size(); ++i) {
    const Contents& c = contents_[i];
    changed.push_back(c.mapped ? MappedWeights::current()->written(*states_[c.owner].storage)
                               : sums[i] != c.sum);
  }
  return changed;
}

WeightWatch::WeightWatch(const Module& module) {
  add(tensors_now(module));
}

void WeightWatch::add(const std::vector<NamedTensor>& tensors) {
  std::set<const c10::StorageImpl*> known;
  for (const State& state : states_) known.insert(state.storage);
  const MappedWeights* mapped = MappedWeights::current();
  std::vector<at::Tensor> bytes;  // undefined where a file knows
  const std::size_t first = contents_.size();
  for (const NamedTensor& named : tensors) {
    states_.push_back(state_of(named));
    const State& state = states_.back();
    if (state.data == nullptr || !known.insert(state.storage).second) continue;
    const bool in_file = mapped != nullptr && mapped->hold(*state.storage);
    contents_.push_back(
        {states_.size() - 1, named.is_buffer, in_file, 0, storage_bytes(named.tensor), {}});
    bytes.push_back(in_file ? at::Tensor() : contents_.back().bytes);
  }
  const auto sums = sums_of(bytes);
  const RecordingPause pause;
  for (std::size_t i = first; i < contents_.size(); ++i) {
    Contents& c = contents_[i];
    if (c.mapped) continue;
    c.sum = sums[i - first];
    if (c.bytes.numel() <= (c.buffer ? kCopiedBufferBytes : kCopiedBytes)) c.copy = c.bytes.clone();
  }
}

std::vector<NamedTensor> WeightWatch::adopt(const Module& module) {
  std::vector<NamedTensor> added;
  for (NamedTensor& named : tensors_now(module)) {
    const bool known = std::any_of(states_.begin(), states_.end(),
                                   [&named](const State& s) { return s.name == named.name; });
    if (!known) added.push_back(std::move(named));
  }
  if (!added.empty()) add(added);
  return added;
}

std::optional<Rejection> WeightWatch::moved(const Module& module, at::Tensor& now) const {
  const std::vector<NamedTensor> tensors = tensors_now(module);
  std::map<std::string_view, const NamedTensor*> by_name;
  for (const NamedTensor& named : tensors) by_name.emplace(named.name, &named);
  for (const State& before : states_) {
    now = at::Tensor();
    const auto found = by_name.extract(before.name);
    if (found.empty()) return rebinding(before.name, "is no longer there");
    now = found.mapped()->tensor;
    const State after = state_of(*found.mapped());
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
  for (const NamedTensor& named : tensors) {
    if (by_name.contains(named.name)) {
      now = named.tensor;
      return rebinding(named.name, "is a tensor that wasn't there before");
    }
  }
  return std::nullopt;
}

void WeightWatch::put_back() const {
  const auto changed = changed_now();
  const RecordingPause pause;
  for (std::size_t i = 0; i < contents_.size(); ++i) {
    const Contents& c = contents_[i];
    if (c.copy.defined() && changed[i]) c.bytes.copy_(c.copy);
  }
}

std::optional<Rejection> WeightWatch::written() const {
  std::optional<Rejection> first;
  const auto changed = changed_now();
  for (std::size_t i = 0; i < contents_.size(); ++i) {
    const Contents& c = contents_[i];
    if (!changed[i]) continue;
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
