#include "capture/trace/foreign_work.h"

#include <ATen/Parallel.h>
#include <ATen/core/ivalue.h>
#include <ATen/record_function.h>

#include <atomic>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace monograph::trace {
namespace {

/// Storages are pinned by weak references, so that an address means one storage for the whole
/// trace without keeping its memory.
struct Seen {
  c10::weak_intrusive_ptr<c10::StorageImpl> pin;
  std::string op;
  bool made = false;  ///< first seen as the result of an operator that wasn't given it
};

struct Observer {
  std::mutex mutex;
  std::map<const c10::StorageImpl*, Seen> seen;  // looked up only
  std::thread::id tracer;
  std::atomic<bool> on = false;
  std::atomic<int> kernels = 0;
  at::CallbackHandle handle = 0;
};

Observer& observer() {
  static Observer state;
  return state;
}

void note(Observer& state, const c10::IValue& value, const char* op, bool result) {
  if (value.isTensor()) {
    const at::Tensor& tensor = value.toTensor();
    if (!tensor.defined() || !tensor.has_storage()) return;
    state.seen.try_emplace(tensor.storage().unsafeGetStorageImpl(),
                           Seen{tensor.storage().getWeakStorageImpl(), op, result});
  } else if (value.isTensorList()) {
    for (const c10::IValue& element : value.toListRef()) note(state, element, op, result);
  }
}

/// Outputs hang on the call, inputs are gone when it ends: both are noted when they are there.
void note_all(const at::RecordFunction& call, c10::ArrayRef<const c10::IValue> values,
              bool results) {
  Observer& state = observer();
  if (!state.on.load(std::memory_order_acquire)) return;
  if (at::in_parallel_region() && state.kernels.load(std::memory_order_relaxed) > 0) return;
  const std::lock_guard lock(state.mutex);
  if (!state.on.load(std::memory_order_relaxed) || state.tracer == std::this_thread::get_id()) {
    return;
  }
  for (const c10::IValue& value : values) note(state, value, call.name(), results);
}

std::unique_ptr<at::ObserverContext> on_start(const at::RecordFunction& call) {
  note_all(call, call.inputs(), false);
  return nullptr;
}

void on_end(const at::RecordFunction& call, at::ObserverContext*) {
  const std::vector<c10::IValue> outputs = call.outputs();
  note_all(call, c10::ArrayRef<const c10::IValue>(outputs.data(), outputs.size()), true);
}

}  // namespace

ForeignWork::ForeignWork() {
  Observer& state = observer();
  const std::lock_guard lock(state.mutex);
  state.seen.clear();
  state.tracer = std::this_thread::get_id();
  state.on.store(true, std::memory_order_release);
  if (state.handle == 0) {
    state.handle = at::addGlobalCallback(at::RecordFunctionCallback(&on_start, &on_end)
                                             .needsInputs(true)
                                             .needsOutputs(true)
                                             .scopes({at::RecordScope::FUNCTION}));
  } else {
    at::reenableCallback(state.handle);
  }
}

ForeignWork::~ForeignWork() {
  Observer& state = observer();
  at::disableCallback(state.handle);
  const std::lock_guard lock(state.mutex);
  state.on.store(false, std::memory_order_release);
  state.seen.clear();
}

std::optional<std::string> ForeignWork::touched(const c10::StorageImpl* storage) const {
  Observer& state = observer();
  const std::lock_guard lock(state.mutex);
  const auto found = state.seen.find(storage);
  if (found == state.seen.end()) return std::nullopt;
  return found->second.op;
}

std::optional<std::string> ForeignWork::made(const c10::StorageImpl* storage) const {
  Observer& state = observer();
  const std::lock_guard lock(state.mutex);
  const auto found = state.seen.find(storage);
  if (found == state.seen.end() || !found->second.made) return std::nullopt;
  return found->second.op;
}

KernelScope::KernelScope() noexcept {
  observer().kernels.fetch_add(1, std::memory_order_relaxed);
}
KernelScope::~KernelScope() {
  observer().kernels.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace monograph::trace
