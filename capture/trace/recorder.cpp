#include "capture/trace/recorder.h"

#include <monograph/region.h>

#include <algorithm>

#include "capture/trace/convert.h"
#include "capture/trace/host_memory.h"
#include "capture/trace/reject.h"

namespace monograph::trace {
namespace {

bool writes(const c10::Argument& argument) {
  return argument.alias_info() != nullptr && argument.alias_info()->isWrite();
}

/// Calls `fn(const at::Tensor&)` for each tensor that the call writes, by schema or in truth.
template <class Fn>
void for_each_written(const OpFacts& facts, const CallArguments& args, Fn&& fn) {
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (writes(args.argument(i))) for_each_tensor(args[i], fn);
  }
  for (const auto& [argument, when] : facts.hidden_writes) {
    if (args[when].isBool() && args[when].toBool()) for_each_tensor(args[argument], fn);
  }
}

}  // namespace

Recorder::Recorder(std::string name, const std::vector<NamedTensor>& tensors, RecorderSetup setup)
    : graph_(std::move(name)),
      values_(graph_, tensors, setup.states, setup.state),
      setup_(std::move(setup)) {}

void Recorder::add_input(const std::string& name, const at::Tensor& tensor) {
  values_.add_input(name, tensor);
}

void Recorder::call(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
                    torch::jit::Stack* stack) {
  if (rejection_) throw RecordingAborted();
  const OpFacts& facts = policy_.facts(op);
  try {
    if (!check_before(facts, CallArguments(op.schema(), *stack))) {
      run_below(op, keys, stack);
    } else if (facts.tensor_form) {
      call_tensor_form(*facts.tensor_form, stack);
    } else if (facts.decompose) {
      decompose(op, stack);
    } else if (facts.inplace_view) {
      change_geometry(op, facts, keys, stack);
    } else {
      record(op, facts, keys, stack);
    }
  } catch (const HostWrote& wrote) {
    refuse_host_write(wrote.record());
    throw RecordingAborted();
  } catch (const CannotRepresent& why) {
    refuse(facts, nullptr,
           {Code::kRejectedUnsupportedOp,
            {},
            "a tensor that it reads or makes can't be described in a graph: " +
                std::string(why.what()),
            "use dense tensors on cpu or cuda, changed by LibTorch operators only"});
  }
}

/// False if the call is to run without a trace of its own.
bool Recorder::check_before(const OpFacts& facts, const CallArguments& args) {
  if (facts.metadata_only) return false;
  if (facts.random && draws_random(args)) {
    refuse(facts, &args,
           {Code::kRejectedRandom,
            {},
            "it draws random numbers: every replay would repeat the same ones or disturb the "
            "generator",
            "pass the random tensor in as an input, or switch the randomness off (eval())"});
  }
  const bool reads = facts.data_dependent && reads_values(facts, args);
  const bool shapes = facts.dynamic_shape && has_dynamic_shape(facts, args);
  if ((reads || shapes) && !all_fixed(args)) {
    refuse(
        facts, &args,
        {shapes && !reads ? Code::kRejectedDynamicShape : Code::kRejectedDataDependence,
         {},
         shapes ? "the sizes of its result depend on the values of tensors, and a replay would "
                  "freeze those seen while tracing"
                : "it brings the value of a tensor to the host, where a replay would freeze what "
                  "was seen while tracing",
         "keep the decision on the device (where, masked_fill, padding to a fixed size), or "
         "compute the value outside and pass it in"});
  }
  if (facts.decompose) return true;
  if (!facts.returns_tensors && !facts.writes) {
    if (facts.data_dependent) return false;  // the answer is known, see above
    refuse(facts, &args,
           {Code::kRejectedUnsupportedOp,
            {},
            "it gives the host something other than tensors, or has an effect that isn't in any "
            "tensor",
            "leave it out of forward, or do it before or after"});
  }
  if (!facts.unsupported.empty()) {
    refuse(facts, &args,
           {Code::kRejectedUnsupportedOp,
            {},
            facts.unsupported,
            "use an operator whose arguments and results are dense tensors and plain values"});
  }
  return true;
}

bool Recorder::all_fixed(const CallArguments& args) {
  bool fixed = true;
  for (std::size_t i = 0; i < args.size(); ++i) {
    for_each_tensor(args[i], [&](const at::Tensor& tensor) {
      const StorageRecord* record = tensor.has_storage() ? values_.storage_of(tensor) : nullptr;
      if (record != nullptr && record->kind == ir::StorageKind::kIntermediate) {
        (void)values_.use(tensor);  // notices what the host wrote
        record = values_.storage_of(tensor);
      }
      fixed = fixed && record != nullptr && record->provenance == Provenance::kFixed;
    });
  }
  return fixed;
}

void Recorder::decompose(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  bool tensors = false;
  const CallArguments args(op.schema(), *stack);
  for (std::size_t i = 0; i < args.size(); ++i) {
    for_each_tensor(args[i], [&tensors](const at::Tensor&) { tensors = true; });
  }
  struct Frame {
    Frame(Recorder& r, const std::string& target, bool given) : recorder(r), with_tensors(given) {
      recorder.composites_.push_back(target);
      recorder.composites_with_tensors_ += with_tensors ? 1 : 0;
    }
    ~Frame() {
      recorder.composites_.pop_back();
      recorder.composites_with_tensors_ -= with_tensors ? 1 : 0;
    }
    Recorder& recorder;
    bool with_tensors;
  } const frame(*this, policy_.facts(op).target, tensors);
  op.callBoxedForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd, *stack);
}

/// The number of a binary operator, second of its arguments, as the tensor that the other form
/// wants.
void Recorder::call_tensor_form(const c10::OperatorHandle& form, torch::jit::Stack* stack) {
  c10::IValue& number = (*stack)[stack->size() - form.schema().arguments().size() + 1];
  number = wrapped_number(number.toScalar());
  form.callBoxed(*stack);
}

void Recorder::record(const c10::OperatorHandle& op, const OpFacts& facts, c10::DispatchKeySet keys,
                      torch::jit::Stack* stack) {
  const CallArguments args(op.schema(), *stack);
  check_foreign(facts, args);
  if (!streams_.empty()) check_stream(facts, args);
  for_each_written(facts, args,
                   [&](const at::Tensor& target) { check_write(facts, args, target); });
  Call call = describe(facts, args);
  run_watched(op, facts, keys, stack);
  add_node(op, facts, std::move(call), *stack);
}

void Recorder::check_write(const OpFacts& facts, const CallArguments& args,
                           const at::Tensor& target) {
  (void)values_.use(target);  // an unknown tensor becomes a constant, host writes show
  StorageRecord& record = *values_.storage_of(target);
  if (record.lifted) {
    values_.make_writable(target);
    return;
  }
  if (record.kind == ir::StorageKind::kIntermediate) return;
  const bool state =
      record.kind == ir::StorageKind::kState || (setup_.every_write && values_.make_state(record));
  if (!state) refuse_mutation(facts, args, record);
  if (setup_.state != nullptr) setup_.state->save(target);
}

void Recorder::refuse_mutation(const OpFacts& facts, const CallArguments& args,
                               const StorageRecord& record) {
  const std::string subject = values_.subject_of(record);
  refuse(facts, &args,
         {Code::kRejectedMutation, subject,
          mutation_reason(record.kind, subject, facts.inplace_view), mutation_remedy(record.kind)});
}

/// squeeze_, resize_, set_ and their like write no memory: they change which part of it a tensor
/// shows. They leave no node; the next use of the tensor finds its new geometry.
void Recorder::change_geometry(const c10::OperatorHandle& op, const OpFacts& facts,
                               c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const CallArguments args(op.schema(), *stack);
  const at::Tensor self = args[0].toTensor();
  if (values_.outlives_forward(self)) {
    (void)values_.use(self);  // an unknown tensor becomes a constant
    refuse_mutation(facts, args, *values_.storage_of(self));
  }
  const bool was_empty = self.numel() == 0;
  const at::Storage storage = self.storage();
  const std::size_t bytes = storage.nbytes();
  run_below(op, keys, stack);
  if (storage.nbytes() <= bytes) return;
  if (!was_empty) throw CannotRepresent("it was enlarged while holding values");
  poison(self);
  values_.forget_storage(self);
  StorageRecord fresh;
  fresh.provenance = Provenance::kFixed;
  const ir::Value value = values_.result(self, fresh);
  ir::Node* node = graph_.call("aten.empty.memory_format", {ir::Arg::ints(value.type.sizes)},
                               {{"dtype", value.type.dtype}, {"device", value.type.device}},
                               ir::Results::tensor(value.type, value.storage));
  node->traits.nondeterministic = true;
  node->module_path = Region::current();
  values_.bind_result(self, node, -1);
  values_.refresh_contents(self);
}

void Recorder::set_outputs(const std::vector<at::Tensor>& outputs) {
  std::vector<ir::Arg> args;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    std::string why = outputs[i].defined() ? std::string() : "it is undefined";
    try {
      if (why.empty()) args.emplace_back(values_.use(outputs[i]));
    } catch (const HostWrote& wrote) {
      refuse_host_write(wrote.record());
      throw RecordingAborted();
    } catch (const CannotRepresent& reason) {
      why = reason.what();
    }
    if (why.empty()) continue;
    Rejection rejection;
    rejection.code = Code::kRejectedUnsupportedOp;
    rejection.subject = "output " + std::to_string(i);
    rejection.reason = "output " + std::to_string(i) + " can't be described in a graph: " + why;
    rejection.remedy = "return defined, dense tensors on cpu or cuda";
    rejection_ = std::move(rejection);
    throw RecordingAborted();
  }
  graph_.output(std::move(args));
}

std::string Recorder::inside() const {
  return composites_.empty() ? std::string() : " (called by " + composites_.front() + ")";
}

void Recorder::refuse(const OpFacts& facts, const CallArguments* args, Refusal refusal) {
  Call call;
  try {
    if (args != nullptr) call = describe(facts, *args);
  } catch (const CannotRepresent&) {
    call = {};  // the line is shown without arguments
  }
  ir::Node* node = graph_.call(facts.target, std::move(call.args), std::move(call.kwargs),
                               ir::Results::none(), std::move(call.writes));
  Rejection rejection;
  rejection.code = refusal.code;
  rejection.op = facts.target;
  rejection.node = node->name();
  rejection.module_path = Region::current();
  rejection.subject = std::move(refusal.subject);
  rejection.reason = facts.target + inside() + ": " + refusal.reason;
  rejection.remedy = std::move(refusal.remedy);
  rejection.excerpt = excerpt(graph_, node);
  rejection_ = std::move(rejection);
  throw RecordingAborted();
}

}  // namespace monograph::trace
