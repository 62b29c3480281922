#include <fmt/format.h>
#include <monograph/compiled_module.h>

#include <atomic>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <unordered_map>

#include "capture/trace/dispatch_key.h"
#include "runtime/exec/executable_impl.h"
#include "runtime/session/dump.h"
#include "runtime/session/guards.h"
#include "runtime/session/shape_key.h"

namespace monograph {
namespace {

/// What one shape key came to. `mutex` guards everything but `ready`.
struct Entry {
  std::mutex mutex;
  std::optional<Executable> executable;
  std::optional<Rejection> rejection;
  std::optional<session::WeightGuard> weights;  // Mode::kStock only
};

/// Compiling is one at a time per process (the recorder's key has one owner); a forward that calls
/// a wrapper while this thread traces would wait for itself.
class CompileScope {
 public:
  static void refuse_nested() {
    if (active_ || trace::is_recording()) {
      throw Error(Code::kInvalidState,
                  "a CompiledModule was called by a forward that is being traced; call the plain "
                  "module there, its operators become part of the outer graph");
    }
  }
  CompileScope() : lock_(mutex()) { active_ = true; }
  ~CompileScope() { active_ = false; }
  CompileScope(const CompileScope&) = delete;
  CompileScope& operator=(const CompileScope&) = delete;

 private:
  static std::mutex& mutex() {
    static std::mutex m;
    return m;
  }
  static thread_local bool active_;
  std::lock_guard<std::mutex> lock_;
};
thread_local bool CompileScope::active_ = false;

std::uint64_t increment(std::atomic<std::uint64_t>& counter) {
  return counter.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

void detail::wrong_input_count(std::size_t expected, std::size_t got) {
  throw Error(Code::kInvalidArgument, fmt::format("forward takes {} input{}, got {}", expected,
                                                  expected == 1 ? "" : "s", got));
}

class CompiledModule::Impl {
 public:
  Impl(Module module, Options options) : module_(std::move(module)), options_(std::move(options)) {
    if (options_.mode == Mode::kNone) {
      throw Error(Code::kInvalidOption,
                  "Mode::kNone means no compilation: call the module itself, or choose kStock, "
                  "kTraceOnce or kFull");
    }
    if (options_.backend != "auto") (void)exec::find_backend(options_.backend);
    if (!module_.forward) {
      throw Error(Code::kInvalidArgument, "the module has no forward function");
    }
  }

  template <class Replay>
  auto call(const std::vector<at::Tensor>& inputs, Replay replay) {
    CompileScope::refuse_nested();
    increment(calls_);
    Entry* entry = last_.load(std::memory_order_acquire);
    if (entry != nullptr && entry->executable->impl().inputs().matches(inputs)) {
      const std::lock_guard lock(entry->mutex);
      return finish(*entry, replay);
    }
    Entry& found = find(inputs);
    const std::lock_guard lock(found.mutex);
    ensure_compiled(found, inputs);
    return finish(found, replay);
  }

  Executable& prepare(const std::vector<at::Tensor>& inputs) {
    CompileScope::refuse_nested();
    Entry& entry = find(inputs);
    const std::lock_guard lock(entry.mutex);
    ensure_compiled(entry, inputs);
    return *entry.executable;
  }

  bool compiled() const noexcept { return compiles_.load(std::memory_order_relaxed) > 0; }
  std::size_t shape_count() const noexcept { return ready_.load(std::memory_order_relaxed); }
  CallCounters counters() const noexcept {
    return {calls_.load(std::memory_order_relaxed), traces_.load(std::memory_order_relaxed),
            compiles_.load(std::memory_order_relaxed), replays_.load(std::memory_order_relaxed)};
  }

 private:
  template <class Replay>
  auto finish(Entry& entry, Replay& replay) {
    increment(replays_);
    return replay(entry.executable->impl());
  }

  /// The entry for these inputs, made if there is none.
  Entry& find(const std::vector<at::Tensor>& inputs) {
    if (options_.mode == Mode::kTraceOnce) return once_;
    session::ShapeKey key(inputs, module_.input_names);
    if (options_.mode == Mode::kStock) key.append(session::mode_words());
    {
      const std::shared_lock lock(entries_mutex_);
      const auto it = entries_.find(key);
      if (it != entries_.end()) return *it->second;
    }
    const std::unique_lock lock(entries_mutex_);
    std::unique_ptr<Entry>& slot = entries_[std::move(key)];
    if (!slot) slot = std::make_unique<Entry>();
    return *slot;
  }

  /// Leaves `entry` (locked by the caller) with an executable that accepts `inputs`, or throws.
  void ensure_compiled(Entry& entry, const std::vector<at::Tensor>& inputs) {
    if (entry.weights && !entry.weights->holds(module_.tensors)) forget(entry);
    if (entry.rejection) throw RejectedError(*entry.rejection);
    if (!entry.executable) compile(entry, inputs);
    const exec::Signature& signature = entry.executable->impl().inputs();
    if (!signature.matches(inputs)) signature.check(inputs);
    // Guards are checked on the way through `find`, so kStock never takes the short cut.
    if (options_.mode != Mode::kStock) last_.store(&entry, std::memory_order_release);
  }

  void forget(Entry& entry) {
    if (entry.executable) ready_.fetch_sub(1, std::memory_order_relaxed);
    entry.executable.reset();
    entry.rejection.reset();
    entry.weights.reset();
  }

  std::variant<Program, Rejection> trace(const std::vector<at::Tensor>& inputs) {
    bool ran = false;
    Module counted = module_;
    counted.forward = [this, &ran](const std::vector<at::Tensor>& in) {
      if (!std::exchange(ran, true)) increment(traces_);
      return module_.forward(in);
    };
    return Program::trace(counted, inputs, options_);
  }

  void compile(Entry& entry, const std::vector<at::Tensor>& inputs) {
    const CompileScope scope;
    if (options_.mode == Mode::kStock) entry.weights.emplace(module_.tensors);
    auto traced = trace(inputs);
    if (auto* rejection = std::get_if<Rejection>(&traced)) {
      entry.rejection = std::move(*rejection);
      throw RejectedError(*entry.rejection);
    }
    const auto& program = std::get<Program>(traced);
    if (!session_) session_ = Executable::Impl::open_session(program, options_);
    entry.executable.emplace(std::make_unique<Executable::Impl>(program, options_, session_));
    increment(compiles_);
    ready_.fetch_add(1, std::memory_order_relaxed);
    session::dump(*entry.executable, options_,
                  session::ShapeKey(inputs, module_.input_names).text(inputs));
  }

  Module module_;
  Options options_;
  std::shared_ptr<void> session_;  // shared by the executables; set under CompileScope
  std::shared_mutex entries_mutex_;
  // Entries are never erased, so references and `last_` stay valid. Looked up only, never iterated.
  std::unordered_map<session::ShapeKey, std::unique_ptr<Entry>, session::ShapeKeyHash> entries_;
  Entry once_;  // Mode::kTraceOnce
  // The entry that the last call used; its executable exists and stays (modes without guards).
  std::atomic<Entry*> last_ = nullptr;
  std::atomic<std::uint64_t> calls_ = 0;
  std::atomic<std::uint64_t> traces_ = 0;
  std::atomic<std::uint64_t> compiles_ = 0;
  std::atomic<std::uint64_t> replays_ = 0;
  std::atomic<std::size_t> ready_ = 0;
};

namespace {

template <class Impl>
Impl& alive(const std::unique_ptr<Impl>& impl) {
  if (!impl) throw Error(Code::kInvalidState, "this CompiledModule was moved from");
  return *impl;
}

}  // namespace

CompiledModule::CompiledModule(Module module, Options options)
    : impl_(std::make_unique<Impl>(std::move(module), std::move(options))) {}
CompiledModule::~CompiledModule() = default;
CompiledModule::CompiledModule(CompiledModule&&) noexcept = default;
CompiledModule& CompiledModule::operator=(CompiledModule&&) noexcept = default;

std::vector<at::Tensor> CompiledModule::operator()(const std::vector<at::Tensor>& inputs) {
  return alive(impl_).call(inputs,
                           [&](Executable::Impl& executable) { return executable.run(inputs); });
}

void CompiledModule::operator()(const std::vector<at::Tensor>& inputs,
                                std::vector<at::Tensor>& outputs) {
  alive(impl_).call(inputs, [&](Executable::Impl& executable) { executable.run(inputs, outputs); });
}

Executable& CompiledModule::prepare(const std::vector<at::Tensor>& inputs) {
  return alive(impl_).prepare(inputs);
}

bool CompiledModule::compiled() const noexcept {
  return impl_ && impl_->compiled();
}
std::size_t CompiledModule::shape_count() const {
  return alive(impl_).shape_count();
}
CallCounters CompiledModule::counters() const {
  return alive(impl_).counters();
}

}  // namespace monograph
