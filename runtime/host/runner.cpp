#include "runtime/host/runner.h"

#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/Exception.h>
#include <monograph/error.h>

#include <chrono>

namespace monograph::host {

HostRunner::HostRunner(const exec::Planned& planned)
    : planned_(planned),
      memory_(planned),
      scope_([this](const ir::Value& value) { return memory_.tensor(value); }) {
  bind();
}

void HostRunner::rebind_weights(const std::vector<std::string>&) {
  // Steps hold tensors over the old weights, some of them packed: all are made anew.
  launches_.clear();
  scope_ = Scope([this](const ir::Value& value) { return memory_.tensor(value); });
  memory_ = Memory(planned_);
  bind();
}

void HostRunner::bind() {
  const c10::InferenceMode mode;  // steps make views of their tensors
  launches_.reserve(planned_.lowered.launches.size());
  for (const lower::Launch& launch : planned_.lowered.launches) {
    launches_.push_back(bind_call(*launch.node, scope_, memory_.workspace(launch.id)));
  }
}

template <class RunOne>
void HostRunner::run_each(const std::vector<at::Tensor>& inputs,
                          const std::vector<at::Tensor>& outputs, RunOne run_one) {
  for (std::size_t i = 0; i < inputs.size(); ++i) memory_.point_input(i, inputs[i]);
  for (std::size_t i = 0; i < outputs.size(); ++i) memory_.point_output(i, outputs[i]);
  const c10::InferenceMode mode;
  // Casts that autocast made are part of the graph; it must not make them again.
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  std::size_t at = 0;
  try {
    for (; at < launches_.size(); ++at) run_one(at);
  } catch (const c10::Error& e) {
    throw Error(Code::kInvalidArgument, "LibTorch's kernel refused its arguments",
                launches_[at].node, e.what_without_backtrace());
  }
}

void HostRunner::run(const std::vector<at::Tensor>& inputs,
                     const std::vector<at::Tensor>& outputs) {
  run_each(inputs, outputs, [this](std::size_t at) { launches_[at].step->run(); });
}

bool HostRunner::run_timed(const std::vector<at::Tensor>& inputs,
                           const std::vector<at::Tensor>& outputs,
                           std::vector<double>& microseconds) {
  using Clock = std::chrono::steady_clock;
  microseconds.assign(launches_.size(), 0);
  run_each(inputs, outputs, [this, &microseconds](std::size_t at) {
    const Clock::time_point start = Clock::now();
    launches_[at].step->run();
    microseconds[at] = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
  });
  return true;
}

std::vector<std::string> HostRunner::allocating_launches() const {
  std::vector<std::string> out;
  for (const BoundLaunch& launch : launches_) {
    if (!launch.allocating.empty()) out.push_back(launch.allocating);
  }
  return out;
}

}  // namespace monograph::host
