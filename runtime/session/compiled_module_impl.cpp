#include "runtime/session/compiled_module_impl.h"

#include <ATen/Version.h>
#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <monograph/version.h>
#include <torch/version.h>

#include "runtime/base/log.h"
#include "runtime/base/progress.h"
#include "runtime/session/dump.h"

namespace monograph {
namespace {

using Tensors = std::vector<at::Tensor>;
using session::Entry;

void check(const Options& options) {
  if (options.mode == Mode::kNone) {
    throw Error(Code::kInvalidOption,
                "Mode::kNone means no compilation: call the module itself, or choose kStock, "
                "kTraceOnce or kFull");
  }
  if (options.verify_calls < 0 || options.verify_rate < 0 || options.verify_rate > 1) {
    throw Error(Code::kInvalidOption,
                fmt::format("verify_calls must not be negative and verify_rate must lie in [0, 1]; "
                            "got {} and {}",
                            options.verify_calls, options.verify_rate));
  }
  if (options.recompile_limit < 1 || options.total_recompile_limit < 1) {
    throw Error(Code::kInvalidOption,
                fmt::format("recompile limits must be positive; got {} and {}",
                            options.recompile_limit, options.total_recompile_limit));
  }
  exec::check_options(options);
}

/// Version of the LibTorch that is loaded, as its build settings say; empty if they don't.
std::string loaded_torch() {
  constexpr std::string_view kKey = "TORCH_VERSION=";
  const std::string config = at::show_config();
  const std::size_t found = config.find(kKey);
  if (found == std::string::npos) return {};
  const std::size_t begin = found + kKey.size();
  return config.substr(begin, config.find_first_of(", \n", begin) - begin);
}

std::string without_build_tag(std::string version) {
  return version.substr(0, version.find('+'));
}

}  // namespace

CompiledModule::Impl::Impl(Module module, Options options)
    : module_(std::move(module)), options_(std::move(options)) {
  check(options_);
  if (!module_.forward) {
    throw Error(Code::kInvalidArgument, "the module has no forward function");
  }
}

session::ShapeKey CompiledModule::Impl::key_of(const Tensors& inputs) const {
  session::ShapeKey key(inputs, module_.input_names);
  if (options_.mode == Mode::kStock) key.append(session::mode_words());
  return key;
}

/// The entry for these inputs, made if there is none.
Entry& CompiledModule::Impl::find(const Tensors& inputs) {
  if (options_.mode == Mode::kTraceOnce) return once_;
  session::ShapeKey key = key_of(inputs);
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

/// A forward that writes nothing lasting may run while another thread compiles it.
bool CompiledModule::Impl::may_run_beside() const {
  return options_.first_call == FirstCall::kEager && !may_write_state();
}

bool CompiledModule::Impl::ready(Entry& entry, const Tensors& inputs,
                                 std::unique_lock<std::mutex>& lock) {
  const bool settled = entry.settled.load(std::memory_order_acquire);
  if (settled || !may_run_beside()) {
    lock.lock();
  } else if (!lock.try_lock()) {
    return false;
  }
  return ensure_compiled(entry, inputs);
}

bool CompiledModule::Impl::ensure_compiled(Entry& entry, const Tensors& inputs) {
  if (entry.weights && !entry.weights->holds(tensors_now())) forget(entry);
  if (entry.rejection) return refuse(entry, *entry.rejection);
  if (!entry.executable) {
    if (options_.mode == Mode::kStock && !within_limits(entry)) return false;
    if (const auto rejection = compile(entry, inputs)) return refuse(entry, *rejection);
    if (!entry.executable) return false;  // another thread compiles, and this call may run beside
  }
  const exec::Signature& signature = entry.executable->impl().inputs();
  if (!signature.matches(inputs)) signature.check(inputs);
  // Guards, state and verification are seen to on the way through `find`.
  const bool plain = options_.mode != Mode::kStock && !entry.stateful &&
                     options_.verify_calls == 0 && options_.verify_rate == 0;
  if (plain) last_.store(&entry, std::memory_order_release);
  return true;
}

bool CompiledModule::Impl::refuse(Entry& entry, const Rejection& rejection) {
  if (options_.on_reject == OnReject::kThrow) throw RejectedError(rejection);
  if (!std::exchange(entry.warned, true)) {
    base::log(base::LogLevel::kWarning,
              fmt::format("'{}' runs eagerly: {}", options_.name, rejection.to_string()));
  }
  return false;
}

bool CompiledModule::Impl::within_limits(Entry&) {
  const std::string limit = count_.beyond(options_.recompile_limit, options_.total_recompile_limit);
  if (limit.empty()) return true;
  const std::string message =
      fmt::format("'{}' would compile beyond {} (Mode::kStock): its guards fail too often",
                  options_.name, limit);
  if (options_.on_limit == OnLimit::kError) throw Error(Code::kInvalidState, message);
  if (!warned_of_limit_.exchange(true)) {
    base::log(base::LogLevel::kWarning, message + "; such calls run eagerly");
  }
  return false;
}

bool CompiledModule::Impl::verifies(Entry& entry) {
  if (options_.verify_calls == 0 && options_.verify_rate == 0) return false;
  if (entry.calls++ < static_cast<std::uint64_t>(options_.verify_calls)) return true;
  const std::lock_guard lock(draw_mutex_);
  return std::uniform_real_distribution<double>(0, 1)(draw_) < options_.verify_rate;
}

void CompiledModule::Impl::forget(Entry& entry) {
  if (entry.executable) ready_.fetch_sub(1, std::memory_order_relaxed);
  entry.settled.store(false, std::memory_order_release);
  entry.executable.reset();
  entry.rejection.reset();
  entry.weights.reset();
}

std::variant<Program, Rejection> CompiledModule::Impl::trace(const Tensors& inputs) {
  bool ran = false;
  Module counted = module_;
  counted.forward = [this, &ran](const Tensors& in) {
    if (!std::exchange(ran, true)) increment(traces_);
    return module_.forward(in);
  };
  const auto state = state_turn(may_write_state());  // forward writes it, and has it put back
  const auto writers = writer_turn<std::unique_lock<std::shared_timed_mutex>>();
  return Program::trace(counted, inputs, options_);
}

/// Callbacks may add callbacks, and may fail; neither is the compilation's business.
void CompiledModule::Impl::tell(const Program& program) {
  std::vector<TransformedCallback> callbacks;
  {
    const std::lock_guard lock(callbacks_mutex_);
    callbacks = callbacks_;
  }
  for (const TransformedCallback& callback : callbacks) {
    std::string what = "something that is no std::exception";
    try {
      callback(program);
      continue;
    } catch (const std::exception& e) {
      what = e.what();
    } catch (...) {  // NOLINT: reported below
    }
    base::log(base::LogLevel::kWarning,
              fmt::format("a callback for programs of '{}' threw: {}", options_.name, what));
  }
}

/// The rejection, if it came to one; without either, another thread compiles and this call may run
/// beside it.
std::optional<Rejection> CompiledModule::Impl::compile(Entry& entry, const Tensors& inputs) {
  using session::CompileScope;
  const CompileScope scope(may_run_beside() ? CompileScope::Wait::kTry : CompileScope::Wait::kWait);
  if (!scope.owns()) return std::nullopt;
  std::optional<session::WeightGuard> weights;
  if (options_.mode == Mode::kStock) weights.emplace(tensors_now());
  const std::string key = session::ShapeKey(inputs, module_.input_names).text(inputs);
  base::Progress progress(fmt::format("capturing '{}' {}", options_.name, key));
  auto traced = trace(inputs);
  if (auto* rejection = std::get_if<Rejection>(&traced)) {
    session::dump(*rejection, options_, key);
    if (rejection->code == Code::kRejectedMutation || rejection->code == Code::kRejectedRebinding) {
      writes_.store(true, std::memory_order_release);
    }
    // That inputs overlap is the call's doing, not the module's.
    if (rejection->code == Code::kRejectedAliasing) return std::move(*rejection);
    entry.rejection = std::move(*rejection);
    entry.weights = std::move(weights);
    entry.settled.store(true, std::memory_order_release);
    return entry.rejection;
  }
  const auto& program = std::get<Program>(traced);
  progress.step(fmt::format("traced {} nodes, {} after passes", program.nodes_traced(),
                            program.graph().size()));
  tell(program);
  const std::set<std::string> states = session::state_names(program);
  if (weights) weights->release(states, tensors_now());
  if (!session_) session_ = Executable::Impl::open_session(program, options_);
  {
    const auto state = state_turn(!states.empty());
    entry.executable.emplace(std::make_unique<Executable::Impl>(program, options_, session_));
  }
  const Report& report = entry.executable->report();
  progress.step(fmt::format("built {} launches, {} of weights, arena of {}", report.launches,
                            base::spell_bytes(static_cast<double>(report.weight_bytes)),
                            base::spell_bytes(static_cast<double>(report.arena_bytes))));
  entry.weights = std::move(weights);
  entry.stateful = !states.empty();
  increment(compiles_);
  if (options_.mode == Mode::kStock) count_.add();
  ready_.fetch_add(1, std::memory_order_relaxed);
  session::dump(*entry.executable, options_, key);
  session::save_package(program, options_, key);
  entry.settled.store(true, std::memory_order_release);
  return std::nullopt;
}

Executable& CompiledModule::Impl::prepare(const Tensors& inputs) {
  session::CompileScope::refuse_nested();
  Entry& entry = find(inputs);
  const std::lock_guard lock(entry.mutex);
  while (!ensure_compiled(entry, inputs)) {
    if (entry.rejection) throw RejectedError(*entry.rejection);
    if (options_.mode == Mode::kStock && !within_limits(entry)) {
      throw Error(Code::kInvalidState,
                  "nothing was prepared: the limit of compilations is reached");
    }
    const session::CompileScope turn;  // waits for whoever compiles
  }
  return *entry.executable;
}

void CompiledModule::Impl::on_transformed(TransformedCallback callback) {
  if (!callback) throw Error(Code::kInvalidArgument, "on_transformed was given no function");
  const std::lock_guard lock(callbacks_mutex_);
  callbacks_.push_back(std::move(callback));
}

std::optional<Rejection> CompiledModule::Impl::rejection(const Tensors& inputs) {
  Entry* entry = &once_;
  if (options_.mode != Mode::kTraceOnce) {
    const session::ShapeKey key = key_of(inputs);
    const std::shared_lock lock(entries_mutex_);
    const auto it = entries_.find(key);
    if (it == entries_.end()) return std::nullopt;
    entry = it->second.get();
  }
  const std::lock_guard lock(entry->mutex);
  return entry->rejection;
}

Program CompiledModule::Impl::aot_compile(const Tensors& inputs, const std::string& path) {
  session::CompileScope::refuse_nested();
  const std::string loaded = loaded_torch();
  const std::string built = TORCH_VERSION;
  std::string why;
  if (options_.mode == Mode::kStock) {
    why = "guards of Mode::kStock can't be saved";
  } else if (!loaded.empty() && without_build_tag(loaded) != without_build_tag(built)) {
    why = "the LibTorch that is loaded isn't the one that this library was built for";
  }
  if (!why.empty()) {
    throw Error(Code::kInvalidState,
                fmt::format("aot_compile isn't available: {} (monograph {}, built for LibTorch {}, "
                            "running with {})",
                            why, MONOGRAPH_VERSION_STRING, built,
                            loaded.empty() ? "an unknown version" : loaded));
  }
  const session::CompileScope scope;
  auto traced = trace(inputs);
  if (const auto* rejection = std::get_if<Rejection>(&traced)) throw RejectedError(*rejection);
  auto& program = std::get<Program>(traced);
  tell(program);
  program.save(path);
  return std::move(program);
}

CallCounters CompiledModule::Impl::counters() const noexcept {
  return {calls_.load(std::memory_order_relaxed),    traces_.load(std::memory_order_relaxed),
          compiles_.load(std::memory_order_relaxed), replays_.load(std::memory_order_relaxed),
          eager_.load(std::memory_order_relaxed),    verified_.load(std::memory_order_relaxed)};
}

}  // namespace monograph
