// CompiledModule: the no-guards wrapper around one forward.
#pragma once

#include <ATen/core/TensorBody.h>
#include <monograph/executable.h>
#include <monograph/options.h>
#include <monograph/program.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace monograph {

namespace detail {
template <class T>
void append_outputs(std::vector<at::Tensor>& out, T&& value) {
  using U = std::decay_t<T>;
  if constexpr (std::is_same_v<U, at::Tensor>) {
    out.push_back(std::forward<T>(value));
  } else if constexpr (std::is_same_v<U, std::vector<at::Tensor>>) {
    out.insert(out.end(), value.begin(), value.end());
  } else {
    std::apply([&out](auto&&... parts) { (append_outputs(out, parts), ...); }, value);
  }
}
template <class Fn, std::size_t... I>
auto call_flat(Fn& fn, const std::vector<at::Tensor>& in, std::index_sequence<I...>) {
  return fn(in[I]...);
}
[[noreturn]] void wrong_input_count(std::size_t expected, std::size_t got);
}  // namespace detail

/// Adapts `fn(Tensor x N) -> Tensor | vector<Tensor> | tuple<...>` to the flat form.
template <std::size_t N, class Fn>
ForwardFn flat_forward(Fn fn) {
  return [fn = std::move(fn)](const std::vector<at::Tensor>& in) mutable {
    if (in.size() != N) detail::wrong_input_count(N, in.size());
    std::vector<at::Tensor> out;
    detail::append_outputs(out, detail::call_flat(fn, in, std::make_index_sequence<N>{}));
    return out;
  };
}

/// Module from a torch::nn::Module in a std::shared_ptr or ModuleHolder whose forward takes N
/// tensors. Needs torch/nn included by the caller; shares ownership of the module.
template <std::size_t N, class Holder>
Module make_module(Holder module, std::vector<std::string> input_names = {}) {
  Module m;
  auto* impl = &*module;
  m.forward = flat_forward<N>([impl](const auto&... in) { return impl->forward(in...); });
  m.list_tensors = [impl] {
    std::vector<NamedTensor> tensors;
    for (const auto& p : impl->named_parameters(/*recurse=*/true)) {
      tensors.push_back({p.key(), p.value(), false});
    }
    for (const auto& b : impl->named_buffers(/*recurse=*/true)) {
      tensors.push_back({b.key(), b.value(), true});
    }
    return tensors;
  };
  m.tensors = m.list_tensors();
  for (const auto& child : impl->named_modules()) {
    const std::string type = child.value()->name();
    const bool differs = type.find("Dropout") != std::string::npos ||
                         type.find("BatchNorm") != std::string::npos ||
                         type.find("InstanceNorm") != std::string::npos;
    if (differs && child.value()->is_training()) m.training_modules.push_back(child.key());
  }
  m.input_names = std::move(input_names);
  m.owner = std::make_shared<Holder>(std::move(module));
  return m;
}

/// Counters of one wrapper, for tests and monitoring.
struct CallCounters {
  std::uint64_t calls = 0;
  std::uint64_t traces = 0;    ///< times forward ran under the recorder
  std::uint64_t compiles = 0;  ///< executables built
  std::uint64_t replays = 0;
  std::uint64_t eager = 0;  ///< calls that ran forward itself (Options::on_reject, first_call, ...)
  std::uint64_t verified = 0;  ///< calls that ran forward beside the replay
};

/// Called with each program that a wrapper traced, before it is built.
using TransformedCallback = std::function<void(const Program&)>;

/// First call traces and compiles, later calls go straight to the executable of their shape key:
/// no guard, no interpreter, no allocation beyond the outputs. Modes: see Mode. Safe to call from
/// many threads: calls on one shape key are serialised, first calls compile once.
/// Throws: RejectedError if forward can't be captured (remembered per shape key, without tracing
/// again), Error(kInvalidArgument) for inputs that are unusable, and whatever forward throws.
class CompiledModule {
 public:
  /// Mode::kNone throws Error(kInvalidOption).
  explicit CompiledModule(Module module, Options options = {});
  ~CompiledModule();
  CompiledModule(CompiledModule&&) noexcept;
  CompiledModule& operator=(CompiledModule&&) noexcept;

  std::vector<at::Tensor> operator()(const std::vector<at::Tensor>& inputs);
  /// Into the caller's outputs; they must exist and match (see Executable::replay).
  void operator()(const std::vector<at::Tensor>& inputs, std::vector<at::Tensor>& outputs);

  /// Traces and builds for these inputs now, without a replay; returns the executable, which this
  /// wrapper owns.
  Executable& prepare(const std::vector<at::Tensor>& inputs);

  /// Adds a callback for programs traced from now on. Callbacks run in the order in which they
  /// were added, on the thread that compiles; what one throws is logged as a warning and stops
  /// neither the others nor the compilation. Only this wrapper's programs are shown.
  void on_transformed(TransformedCallback callback);

  /// Why calls like this one are rejected; nullopt if none was. Runs and traces nothing.
  std::optional<Rejection> rejection(const std::vector<at::Tensor>& inputs) const;

  /// Traces these inputs' program, saves it as the package `path` (Program::save)
  /// and returns it. Runs nothing afterwards; `Executable::build(Program::load(path))` does.
  /// Throws: RejectedError, what Program::save throws, and Error(kInvalidState) that names versions
  /// where packages aren't available: in Mode::kStock, whose guards can't be saved, and with a
  /// LibTorch other than the one this library was built for.
  Program aot_compile(const std::vector<at::Tensor>& inputs, const std::string& path);

  bool compiled() const noexcept;   ///< true after the first successful compile
  std::size_t shape_count() const;  ///< shape keys compiled so far
  CallCounters counters() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace monograph
