#include <ATen/EmptyTensor.h>
#include <ATen/ops/empty_strided.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <monograph/executable.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "capture/ir/text.h"
#include "capture/passes/fusion/expand.h"
#include "capture/trace/dispatch_key.h"
#include "capture/trace/program_impl.h"
#include "runtime/exec/executable_impl.h"
#include "runtime/exec/plan_program.h"

namespace monograph {
namespace {

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

bool on_cuda(const TensorSpec& spec) {
  return spec.device.is_cuda();
}

/// The back end `options` asks for; "auto" goes by where the program's tensors are.
const exec::Backend& choose_backend(const Program& program, const Options& options) {
  const bool cuda = std::ranges::any_of(program.inputs(), on_cuda) ||
                    std::ranges::any_of(program.outputs(), on_cuda);
  const exec::Backend& backend = exec::chosen_backend(options, cuda);
  if (backend.unavailable) {
    const std::string why = backend.unavailable(options);
    if (!why.empty()) {
      throw Error(Code::kDeviceUnavailable,
                  fmt::format("back end '{}' can't be used here: {}", backend.name, why));
    }
  }
  return backend;
}

/// Views of an input may only show what the input itself shows: a caller's tensor need not have
/// memory before its first or after its last element.
void check_input_views(const ir::Graph& graph) {
  std::map<ir::StorageId, const ir::Node*> inputs;
  for (const ir::Node* node : graph.placeholders()) inputs.emplace(node->storage(), node);
  for (const auto& node : graph.nodes()) {
    for (const ir::Value& value : node->values()) {
      const auto found = inputs.find(value.storage);
      if (found == inputs.end() || value.type.numel() == 0) continue;
      const ir::TensorType& input = found->second->type();
      if (value.type.offset * ir::itemsize(value.type.dtype) <
              input.offset * ir::itemsize(input.dtype) ||
          value.type.storage_extent() > input.storage_extent()) {
        throw Error(Code::kInvalidGraph,
                    fmt::format("%{} looks beyond input '{}' into the memory around it",
                                node->name(), found->second->target()),
                    node->name());
      }
    }
  }
}

/// Takes apart the fusions that the back end can't run as one launch.
void settle_fusions(exec::Planned& planned, const lower::Chooser& choose) {
  if (planned.graph->subgraphs().empty() || !choose) return;
  auto graph = std::make_shared<ir::Graph>(planned.graph->clone());
  planned.expanded = passes::expand_fusions(*graph, [&choose](const ir::Node& call) -> std::string {
    const lower::Choice choice = choose(call);
    if (choice.kind != lower::LaunchKind::kAten) return {};
    return choice.reason.empty() ? "no kernel" : choice.reason;
  });
  if (planned.expanded.empty()) return;
  planned.graph = graph.get();
  planned.own_graph = std::move(graph);
}

exec::Planned plan_program(const Program& program, const exec::Backend& backend,
                           std::shared_ptr<void> session) {
  exec::Planned planned;
  planned.graph = &program.graph();
  check_input_views(*planned.graph);
  planned.session = std::move(session);
  const lower::Chooser choose =
      backend.choose_for ? backend.choose_for(planned.session) : backend.choose;
  settle_fusions(planned, choose);
  planned.lowered = lower::lower(*planned.graph, choose);
  planned.plan = plan::make_plan(planned.lowered.problem, backend.concurrency);
#ifndef NDEBUG
  plan::check_plan(planned.plan);
#endif
  for (const NamedTensor& weight : program.weights()) {
    planned.weights.emplace(weight.name, weight.tensor);
  }
  planned.inputs = program.inputs();
  planned.outputs = program.outputs();
  planned.examples = program.impl().examples;
  return planned;
}

at::Tensor fresh_output(const TensorSpec& spec) {
  if (spec.device.is_cpu()) {
    return at::Tensor(at::detail::empty_strided_cpu(spec.sizes, spec.strides, spec.dtype));
  }
  return at::empty_strided(spec.sizes, spec.strides,
                           at::TensorOptions().dtype(spec.dtype).device(spec.device));
}

bool overlap(const exec::ByteRange& a, const exec::ByteRange& b) noexcept {
  return a.first < b.second && b.first < a.second;
}

/// Joins ranges that touch, so that a lookup meets at most one.
std::vector<exec::ByteRange> merged(std::vector<exec::ByteRange> ranges) {
  std::erase_if(ranges, [](const exec::ByteRange& r) { return r.first == r.second; });
  std::ranges::sort(ranges);
  std::vector<exec::ByteRange> out;
  for (const exec::ByteRange& r : ranges) {
    if (!out.empty() && r.first <= out.back().second) {
      out.back().second = std::max(out.back().second, r.second);
    } else {
      out.push_back(r);
    }
  }
  return out;
}

}  // namespace

exec::Planned exec::plan_only(const Program& program, const Options& options) {
  const Backend& backend = choose_backend(program, options);
  return plan_program(program, backend,
                      backend.open_session ? backend.open_session(options) : nullptr);
}

std::shared_ptr<void> Executable::Impl::open_session(const Program& program,
                                                     const Options& options) {
  const exec::Backend& backend = choose_backend(program, options);
  return backend.open_session ? backend.open_session(options) : nullptr;
}

Executable::Impl::Impl(const Program& program, const Options& options,
                       std::shared_ptr<void> session)
    : program_(program), inputs_(program.inputs(), "input"), outputs_(program.outputs(), "output") {
  const auto start = std::chrono::steady_clock::now();
  const exec::Backend& backend = choose_backend(program_, options);
  if (!session && backend.open_session) session = backend.open_session(options);
  planned_ = plan_program(program_, backend, std::move(session));
  runner_ = backend.build(planned_, options);
  pin_weights();
  fill_report(backend);
  if (options.output_mode == OutputMode::kBorrowed) {
    std::vector<at::Tensor> memory;
    for (const TensorSpec& spec : outputs_.specs()) memory.push_back(fresh_output(spec));
    borrowed_.emplace(std::move(memory));
  }
  report_.build_ms = milliseconds_since(start);
}

void Executable::Impl::pin_weights() {
  pins_.clear();
  std::vector<exec::ByteRange> ranges;
  for (const auto& [name, tensor] : planned_.weights) {
    if (!tensor.defined() || !tensor.has_storage()) continue;
    const c10::StorageImpl* storage = tensor.storage().unsafeGetStorageImpl();
    pins_.push_back({tensor.unsafeGetTensorImpl(), storage, storage->data()});
    const auto* base = static_cast<const std::byte*>(storage->data());
    ranges.emplace_back(base, base + storage->nbytes());
  }
  weight_ranges_ = merged(std::move(ranges));
  state_ranges_.clear();
  for (const plan::Buffer& b : planned_.plan.problem.buffers) {
    if (b.kind != plan::BufferKind::kState) continue;
    const c10::Storage& storage = planned_.weights.at(b.name).storage();
    const auto* base = static_cast<const std::byte*>(storage.data());
    state_ranges_.emplace_back(b.name, exec::ByteRange{base, base + storage.nbytes()});
  }
}

void Executable::Impl::check_pins() const {
  if (!broken_.empty()) throw Error(Code::kInvalidState, broken_);
  for (const WeightPin& pin : pins_) {
    const c10::StorageImpl* storage = pin.tensor->unsafe_storage().unsafeGetStorageImpl();
    if (storage != pin.storage || storage->data() != pin.data) report_moved_weight();
  }
}

/// Inputs in memory that a replay may write while it reads them: the plan orders nothing around
/// that. Programs without state have nothing to look at.
void Executable::Impl::check_inputs_apart(const std::vector<at::Tensor>& inputs) const {
  for (const auto& [name, range] : state_ranges_) {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (!overlap(exec::byte_range(inputs[i]), range)) continue;
      throw Error(Code::kInvalidArgument,
                  fmt::format("input {} ('{}') overlaps state '{}', which this replay may write: "
                              "pass a clone",
                              i, inputs_.specs()[i].name, name));
    }
  }
}

void Executable::Impl::report_moved_weight() const {
  for (const auto& [name, tensor] : planned_.weights) {
    if (!tensor.defined() || !tensor.has_storage()) continue;
    const c10::StorageImpl* storage = tensor.storage().unsafeGetStorageImpl();
    for (const WeightPin& pin : pins_) {
      if (pin.tensor != tensor.unsafeGetTensorImpl()) continue;
      if (pin.storage == storage && pin.data == storage->data()) continue;
      throw Error(Code::kInvalidState,
                  fmt::format("weight '{}' lies in other memory than when this executable was "
                              "built; copy new values in place, or call rebind_weights",
                              name));
    }
  }
  throw Error(Code::kInternal, "a weight moved and moved back during a replay");
}

void Executable::Impl::fill_report(const exec::Backend& backend) {
  report_.backend = backend.name;
  report_.nodes_traced = program_.nodes_traced();
  report_.nodes_final = program_.graph().size();
  report_.launches = planned_.lowered.launches.size();
  report_.arena_bytes = planned_.plan.arena_bytes;
  report_.arena_lower_bound = planned_.plan.lower_bound_bytes;
  for (const exec::ByteRange& r : weight_ranges_) report_.weight_bytes += r.second - r.first;
  report_.trace_ms = program_.trace_ms();
  report_.passes_ms = program_.passes_ms();
  report_.passes = program_.passes();
  report_.allocating_launches = runner_->allocating_launches();
}

void Executable::Impl::check_overlap(const std::vector<at::Tensor>& inputs,
                                     const std::vector<at::Tensor>& outputs) const {
  const auto refuse = [&](std::size_t index, const std::string& what) {
    throw Error(Code::kInvalidArgument,
                fmt::format("output {} ('{}') overlaps {} in memory; outputs must be memory of "
                            "their own",
                            index, outputs_.specs()[index].name, what));
  };
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const exec::ByteRange out = exec::byte_range(outputs[i]);
    if (out.first == out.second) continue;
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      if (overlap(out, exec::byte_range(inputs[k]))) {
        refuse(i, fmt::format("input {} ('{}')", k, inputs_.specs()[k].name));
      }
    }
    for (std::size_t k = 0; k < i; ++k) {
      if (overlap(out, exec::byte_range(outputs[k]))) {
        refuse(i, fmt::format("output {} ('{}')", k, outputs_.specs()[k].name));
      }
    }
    const auto next = std::ranges::upper_bound(weight_ranges_, out.first, {},
                                               [](const auto& range) { return range.second; });
    if (next != weight_ranges_.end() && overlap(out, *next)) refuse(i, "a weight");
  }
}

void Executable::Impl::check_not_fed_back(const std::vector<at::Tensor>& inputs) const {
  for (const at::Tensor& memory : borrowed_->memory()) {
    const exec::ByteRange out = exec::byte_range(memory);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (!overlap(out, exec::byte_range(inputs[i]))) continue;
      throw Error(Code::kInvalidArgument,
                  fmt::format("input {} ('{}') is an output borrowed from this executable, which "
                              "the replay would overwrite: clone it, or use OutputMode::kOwned",
                              i, inputs_.specs()[i].name));
    }
  }
}

std::vector<at::Tensor> Executable::Impl::run(const std::vector<at::Tensor>& inputs) {
  const InFlight in_flight(in_flight_);
  check_pins();
  check_inputs_apart(inputs);
  if (borrowed_) {
    check_not_fed_back(inputs);
    const std::vector<at::Tensor>& outputs = borrowed_->renew(program_.graph().name());
    runner_->run(inputs, outputs);
    return outputs;
  }
  std::vector<at::Tensor> outputs;
  outputs.reserve(outputs_.specs().size());
  for (const TensorSpec& spec : outputs_.specs()) outputs.push_back(fresh_output(spec));
  runner_->run(inputs, outputs);
  return outputs;
}

void Executable::Impl::run(const std::vector<at::Tensor>& inputs,
                           const std::vector<at::Tensor>& outputs) {
  if (!outputs_.matches(outputs)) outputs_.check(outputs);
  check_overlap(inputs, outputs);
  const InFlight in_flight(in_flight_);
  check_pins();
  check_inputs_apart(inputs);
  // Whoever saved an output for backward must hear that it changed.
  for (const at::Tensor& output : outputs) {
    if (!output.is_inference()) output.unsafeGetTensorImpl()->bump_version();
  }
  runner_->run(inputs, outputs);
}

std::string Executable::Impl::dump(std::string_view stage) const {
  if (stage == "graph") return ir::text(*planned_.graph);
  if (stage == "costs") {
    return fmt::format("{}{}\n", lower::cost_table(planned_.lowered),
                       fmt::join(planned_.expanded, "\n"));
  }
  if (stage == "launches") return lower::text(planned_.lowered);
  if (stage == "plan") return plan::text(planned_.plan);
  std::vector<std::string> stages = {"graph", "launches", "plan", "costs"};
  for (const std::string& name : runner_->dump_stages()) {
    if (stage == name) return runner_->dump(stage);
    stages.push_back(name);
  }
  throw Error(Code::kInvalidOption, fmt::format("unknown dump stage '{}'; there are: {}", stage,
                                                fmt::join(stages, ", ")));
}

Executable Executable::build(const Program& program, const Options& options) {
  return Executable(std::make_unique<Impl>(program, options));
}

Executable::Executable(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Executable::~Executable() = default;
Executable::Executable(Executable&&) noexcept = default;
Executable& Executable::operator=(Executable&&) noexcept = default;

namespace {

/// Refuses what can't be replayed at all: a moved-from executable, and a replay inside a trace,
/// whose operators the recorder would not see.
void check_callable(bool alive) {
  if (!alive) throw Error(Code::kInvalidState, "this Executable was moved from");
  if (trace::is_recording()) {
    throw Error(Code::kInvalidState,
                "an Executable was replayed by a forward that is being traced; call the plain "
                "module there, its operators become part of the outer graph");
  }
}

}  // namespace

std::vector<at::Tensor> Executable::replay(const std::vector<at::Tensor>& inputs) {
  check_callable(impl_ != nullptr);
  if (!impl_->inputs().matches(inputs)) impl_->inputs().check(inputs);
  return impl_->run(inputs);
}

void Executable::replay(const std::vector<at::Tensor>& inputs, std::vector<at::Tensor>& outputs) {
  check_callable(impl_ != nullptr);
  if (!impl_->inputs().matches(inputs)) impl_->inputs().check(inputs);
  impl_->run(inputs, outputs);
}

std::uint64_t Executable::generation() const noexcept {
  return impl_ ? impl_->generation() : 0;
}
void Executable::rebind_weights(const std::vector<NamedTensor>& weights) {
  check_callable(impl_ != nullptr);
  impl_->rebind_weights(weights);
}

const Program& Executable::program() const {
  return impl_->program();
}
const Report& Executable::report() const {
  return impl_->report();
}
std::string Executable::dump(std::string_view stage) const {
  return impl_->dump(stage);
}

}  // namespace monograph
