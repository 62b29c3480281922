#include <fmt/format.h>
#include <monograph/compiled_module.h>

#include "runtime/session/compiled_module_impl.h"

namespace monograph {

void detail::wrong_input_count(std::size_t expected, std::size_t got) {
  throw Error(Code::kInvalidArgument, fmt::format("forward takes {} input{}, got {}", expected,
                                                  expected == 1 ? "" : "s", got));
}

namespace {

/// A call that wants fresh outputs.
struct Fresh {
  const std::vector<at::Tensor>& inputs;
  std::vector<at::Tensor> replay(Executable::Impl& executable) const {
    return executable.run(inputs);
  }
  std::vector<at::Tensor> verified(Executable::Impl& executable,
                                   std::vector<at::Tensor>& seen) const {
    return seen = executable.run(inputs);
  }
  std::vector<at::Tensor> eager(std::vector<at::Tensor> results) const { return results; }
};

/// A call that brings outputs along.
struct Into {
  const std::vector<at::Tensor>& inputs;
  std::vector<at::Tensor>& outputs;
  void replay(Executable::Impl& executable) const { executable.run(inputs, outputs); }
  void verified(Executable::Impl& executable, std::vector<at::Tensor>& seen) const {
    executable.run(inputs, outputs);
    seen = outputs;
  }
  void eager(const std::vector<at::Tensor>& results) const {
    if (results.size() != outputs.size()) {
      throw Error(Code::kInvalidArgument,
                  fmt::format("expected {} outputs, got {}", results.size(), outputs.size()));
    }
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (!outputs[i].defined() || outputs[i].sizes() != results[i].sizes() ||
          outputs[i].dtype() != results[i].dtype()) {
        throw Error(Code::kInvalidArgument,
                    fmt::format("output {}: expected {}, got {}", i, exec::describe(results[i]),
                                exec::describe(outputs[i])));
      }
    }
    for (std::size_t i = 0; i < results.size(); ++i) outputs[i].copy_(results[i]);
  }
};

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
  return alive(impl_).call(inputs, Fresh{inputs});
}

void CompiledModule::operator()(const std::vector<at::Tensor>& inputs,
                                std::vector<at::Tensor>& outputs) {
  alive(impl_).call(inputs, Into{inputs, outputs});
}

Executable& CompiledModule::prepare(const std::vector<at::Tensor>& inputs) {
  return alive(impl_).prepare(inputs);
}

void CompiledModule::on_transformed(TransformedCallback callback) {
  alive(impl_).on_transformed(std::move(callback));
}

std::optional<Rejection> CompiledModule::rejection(const std::vector<at::Tensor>& inputs) const {
  return alive(impl_).rejection(inputs);
}

Program CompiledModule::aot_compile(const std::vector<at::Tensor>& inputs,
                                    const std::string& path) {
  return alive(impl_).aot_compile(inputs, path);
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
