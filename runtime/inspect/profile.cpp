#include "runtime/inspect/profile.h"

#include <ATen/ops/empty_strided.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sum.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>

#include "capture/ir/cost.h"
#include "capture/ir/text.h"
#include "runtime/exec/executable_impl.h"

namespace monograph::inspect {
namespace {

double microseconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
      .count();
}

double best_of(int times, const std::function<void()>& work) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < times; ++i) best = std::min(best, microseconds_of(work));
  return best;
}

/// The value below which `share` of the samples lie (nearest rank).
double quantile(std::vector<double> samples, double share) {
  if (samples.empty()) return 0;
  const auto rank =
      static_cast<std::ptrdiff_t>(share * static_cast<double>(samples.size() - 1) + 0.5);
  std::nth_element(samples.begin(), samples.begin() + rank, samples.end());
  return samples[static_cast<std::size_t>(rank)];
}

std::vector<at::Tensor> outputs_for(const Program& program) {
  std::vector<at::Tensor> outputs;
  for (const TensorSpec& spec : program.outputs()) {
    outputs.push_back(at::empty_strided(spec.sizes, spec.strides,
                                        at::TensorOptions().dtype(spec.dtype).device(spec.device)));
  }
  return outputs;
}

NodeProfile describe(const lower::Launch& launch, const Ceilings& ceilings) {
  NodeProfile row;
  row.node = launch.node->name();
  row.target = launch.node->target();
  row.implementation = launch.implementation.empty()
                           ? std::string(lower::launch_kind_name(launch.kind))
                           : launch.implementation;
  row.module_path = launch.node->module_path;
  if (launch.node->has_tensor()) row.type = ir::text(launch.node->type());
  const ir::Cost cost = ir::cost_of(*launch.node);
  row.bytes = cost.bytes;
  row.flops = cost.flops;
  if (ceilings.bytes_per_us > 0) {
    row.floor_us = std::max(cost.bytes / ceilings.bytes_per_us, cost.flops / ceilings.flops_per_us);
  }
  return row;
}

[[noreturn]] void cannot_time(const std::string& backend) {
  throw Error(Code::kInvalidOption,
              fmt::format("back end '{}' can't time launches one by one{}", backend,
                          backend == "cuda" ? " in one graph; use GraphMode::kNone" : ""));
}

}  // namespace

Ceilings measure_ceilings() {
  const c10::InferenceMode inference;
  constexpr std::int64_t kFloats = std::int64_t{16} << 20;  // 64 MiB: more than caches hold
  constexpr std::int64_t kSide = 384;
  constexpr int kTimes = 20;  // short and often: other programs take the processor in between
  const at::Tensor stream = at::ones({kFloats}, at::kFloat);
  const at::Tensor square = at::ones({kSide, kSide}, at::kFloat);
  Ceilings c;
  c.bytes_per_us =
      static_cast<double>(stream.nbytes()) / best_of(kTimes, [&] { (void)at::sum(stream); });
  c.flops_per_us =
      2.0 * kSide * kSide * kSide / best_of(kTimes, [&] { (void)at::mm(square, square); });
  return c;
}

Profile profile(Executable& executable, const std::vector<at::Tensor>& inputs,
                const ProfileSettings& settings) {
  Executable::Impl& impl = executable.impl();
  Profile p;
  p.backend = impl.report().backend;
  p.runs = std::max(1, settings.runs);
  std::vector<at::Tensor> outputs = outputs_for(impl.program());
  executable.replay(inputs, outputs);  // checks everything
  std::vector<double> times;
  if (!impl.runner().run_timed(inputs, outputs, times)) cannot_time(p.backend);
  for (int i = 1; i < settings.warm_up; ++i) executable.replay(inputs, outputs);

  std::vector<double> replays;
  std::vector<std::vector<double>> samples(times.size());
  for (int run = 0; run < p.runs; ++run) {
    replays.push_back(microseconds_of([&] { executable.replay(inputs, outputs); }));
    impl.runner().run_timed(inputs, outputs, times);
    for (std::size_t i = 0; i < times.size(); ++i) samples[i].push_back(times[i]);
  }
  p.last_us = times;
  p.replay_us = quantile(std::move(replays), 0.5);
  if (settings.known) {
    p.ceilings = *settings.known;
  } else if (settings.ceilings && p.backend == "host") {
    p.ceilings = measure_ceilings();
  }
  for (const lower::Launch& launch : impl.planned().lowered.launches) {
    NodeProfile row = describe(launch, p.ceilings);
    const auto& of_launch = samples[static_cast<std::size_t>(launch.id)];
    row.median_us = quantile(of_launch, 0.5);
    row.p10_us = quantile(of_launch, 0.1);
    row.p90_us = quantile(of_launch, 0.9);
    p.launches_us += row.median_us;
    p.nodes.push_back(std::move(row));
  }
  return p;
}

}  // namespace monograph::inspect
