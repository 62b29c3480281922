// What is behind a CompiledModule.
#pragma once

#include <monograph/compiled_module.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <random>
#include <shared_mutex>
#include <unordered_map>

#include "runtime/exec/executable_impl.h"
#include "runtime/session/compile_scope.h"
#include "runtime/session/entry.h"
#include "runtime/session/limits.h"
#include "runtime/session/shape_key.h"
#include "runtime/session/verification.h"

namespace monograph {

class CompiledModule::Impl {
 public:
  Impl(Module module, Options options);

  /// One call. `target` knows what becomes of results: `replay(executable)`, `eager(results)`,
  /// and `verified(executable, seen)`, which also leaves the results in `seen`.
  template <class Target>
  auto call(const std::vector<at::Tensor>& inputs, const Target& target) {
    session::CompileScope::refuse_nested();
    increment(calls_);
    session::Entry* entry = last_.load(std::memory_order_acquire);
    if (entry != nullptr && entry->executable->impl().inputs().matches(inputs)) {
      const std::lock_guard lock(entry->mutex);
      increment(replays_);
      return target.replay(entry->executable->impl());
    }
    session::Entry& found = find(inputs);
    std::unique_lock lock(found.mutex, std::defer_lock);
    if (!ready(found, inputs, lock)) {
      if (lock.owns_lock()) lock.unlock();  // forward may call this wrapper with other inputs
      increment(eager_);
      const auto state = state_turn(may_write_state());
      const auto writer = writer_turn<std::shared_lock<std::shared_timed_mutex>>();
      return target.eager(session::run_eager(module_, inputs));
    }
    return replay(found, inputs, target);
  }

  Executable& prepare(const std::vector<at::Tensor>& inputs);
  void on_transformed(TransformedCallback callback);
  std::optional<Rejection> rejection(const std::vector<at::Tensor>& inputs);
  Program aot_compile(const std::vector<at::Tensor>& inputs, const std::string& path);

  bool compiled() const noexcept { return compiles_.load(std::memory_order_relaxed) > 0; }
  std::size_t shape_count() const noexcept { return ready_.load(std::memory_order_relaxed); }
  CallCounters counters() const noexcept;

 private:
  static std::uint64_t increment(std::atomic<std::uint64_t>& counter) {
    return counter.fetch_add(1, std::memory_order_relaxed);
  }

  /// A replay of an entry that is locked and has an executable for `inputs`.
  template <class Target>
  auto replay(session::Entry& entry, const std::vector<at::Tensor>& inputs, const Target& target) {
    const auto state = state_turn(entry.stateful);
    increment(replays_);
    Executable::Impl& executable = entry.executable->impl();
    if (!verifies(entry)) return target.replay(executable);
    increment(verified_);
    std::vector<at::Tensor> seen;
    using Result = decltype(target.replay(executable));
    if constexpr (std::is_void_v<Result>) {
      session::verify(module_, executable.program(), options_, inputs, [&] {
        target.verified(executable, seen);
        return seen;
      });
    } else {
      Result result;
      session::verify(module_, executable.program(), options_, inputs, [&] {
        result = target.verified(executable, seen);
        return seen;
      });
      return result;
    }
  }

  bool may_write_state() const {
    return !options_.mutable_state.empty() || options_.graph_mode == GraphMode::kNone;
  }
  /// Executables of all shapes share state: one replay, trace or eager forward at a time works on
  /// it. Taken last: whoever holds it waits for nobody.
  std::unique_lock<std::mutex> state_turn(bool stateful) {
    std::unique_lock<std::mutex> turn(state_mutex_, std::defer_lock);
    if (stateful) turn.lock();
    return turn;
  }

  /// Once a shape was refused for what forward writes: shared for eager forwards, unique for
  /// traces, which must not see others write. Forwards that call this wrapper again hold it
  /// already, and a trace may come not to own it.
  template <class Lock>
  Lock writer_turn() {
    Lock turn(writers_, std::defer_lock);
    if (writes_.load(std::memory_order_acquire)) (void)turn.try_lock_for(kLongestForward);
    return turn;
  }

  session::ShapeKey key_of(const std::vector<at::Tensor>& inputs) const;
  session::Entry& find(const std::vector<at::Tensor>& inputs);
  /// Locks the entry and leaves it with an executable for `inputs`, or returns false for a call
  /// that is to run eagerly. Throws where the caller wants to hear of it.
  bool ready(session::Entry& entry, const std::vector<at::Tensor>& inputs,
             std::unique_lock<std::mutex>& lock);
  bool ensure_compiled(session::Entry& entry, const std::vector<at::Tensor>& inputs);
  bool refuse(session::Entry& entry, const Rejection& rejection);
  bool within_limits(session::Entry& entry);
  bool may_run_beside() const;
  bool verifies(session::Entry& entry);
  void forget(session::Entry& entry);
  std::variant<Program, Rejection> trace(const std::vector<at::Tensor>& inputs);
  std::optional<Rejection> compile(session::Entry& entry, const std::vector<at::Tensor>& inputs);
  void tell(const Program& program);
  const std::vector<NamedTensor> tensors_now() const {
    return module_.list_tensors ? module_.list_tensors() : module_.tensors;
  }

  Module module_;
  Options options_;
  std::shared_ptr<void> session_;  // shared by the executables; set under CompileScope
  std::shared_mutex entries_mutex_;
  // Entries are never erased, so references and `last_` stay valid. Looked up only, never iterated.
  std::unordered_map<session::ShapeKey, std::unique_ptr<session::Entry>, session::ShapeKeyHash>
      entries_;
  session::Entry once_;  // Mode::kTraceOnce
  // The entry that the last call used, if nothing but the inputs needs a look: modes without
  // guards, no verification, no state. Its executable exists and stays.
  std::atomic<session::Entry*> last_ = nullptr;
  std::mutex state_mutex_;
  /// Waited for so long at most: a forward may call this wrapper again, on a thread that traces
  /// wait for.
  static constexpr std::chrono::milliseconds kLongestForward{500};
  std::shared_timed_mutex writers_;
  std::atomic<bool> writes_{false};  // a shape was refused for what forward writes
  std::mutex callbacks_mutex_;
  std::vector<TransformedCallback> callbacks_;
  std::mutex draw_mutex_;
  std::minstd_rand draw_;
  session::CompileCount count_;
  std::atomic<bool> warned_of_limit_ = false;
  std::atomic<std::uint64_t> calls_ = 0;
  std::atomic<std::uint64_t> traces_ = 0;
  std::atomic<std::uint64_t> compiles_ = 0;
  std::atomic<std::uint64_t> replays_ = 0;
  std::atomic<std::uint64_t> eager_ = 0;
  std::atomic<std::uint64_t> verified_ = 0;
  std::atomic<std::size_t> ready_ = 0;
};

}  // namespace monograph
