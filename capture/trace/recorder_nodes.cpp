// How the recorder turns a boxed call into a node: arguments before it runs, results after.
#include <ATen/core/List.h>
#include <monograph/region.h>

#include <algorithm>

#include "capture/trace/convert.h"
#include "capture/trace/host_memory.h"
#include "capture/trace/origin.h"
#include "capture/trace/recorder.h"

namespace monograph::trace {
namespace {

bool is_default(const c10::IValue& value, const c10::Argument& argument) {
  if (!argument.default_value()) return false;
  if (value.isTensor()) {
    return !value.toTensor().defined() && argument.default_value()->isNone();
  }
  if (value.isTensorList()) return false;
  return *argument.default_value() == value;
}

/// Number of leading positional arguments that have to be spelt out.
std::size_t spelt_positionals(const CallArguments& args) {
  std::size_t last = 0;
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (!args.argument(i).kwarg_only() && !is_default(args[i], args.argument(i))) last = i + 1;
  }
  return last;
}

/// The number in a 0-dimensional tensor that LibTorch made of a C++ scalar.
ir::Arg number_in(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kDouble:
      return *tensor.const_data_ptr<double>();
    case at::kLong:
      return *tensor.const_data_ptr<std::int64_t>();
    case at::kBool:
      return *tensor.const_data_ptr<bool>();
    case at::kComplexDouble: {
      const auto value = *tensor.const_data_ptr<c10::complex<double>>();
      return std::complex<double>(value.real(), value.imag());
    }
    default:
      throw CannotRepresent("a number of unusual type");
  }
}

ir::Arg integer_of_type(std::int64_t value, const c10::TypePtr& type) {
  switch (type->kind()) {
    case c10::TypeKind::ScalarTypeType: {
      const auto dtype = dtype_of(static_cast<at::ScalarType>(value));
      if (!dtype) throw CannotRepresent("an element type that the graph doesn't know");
      return *dtype;
    }
    case c10::TypeKind::LayoutType:
      return layout_of(static_cast<at::Layout>(value));
    case c10::TypeKind::MemoryFormatType:
      return memory_format_of(static_cast<at::MemoryFormat>(value));
    default:
      return value;
  }
}

/// Functional overload of an `out=` operator: the same arguments, nothing written.
std::optional<c10::OperatorName> functional_form(const c10::FunctionSchema& out_schema) {
  std::vector<const c10::Argument*> wanted;
  for (const c10::Argument& a : out_schema.arguments()) {
    if (!a.is_out()) wanted.push_back(&a);
  }
  auto fits = [&wanted](const c10::FunctionSchema& schema) {
    const auto& have = schema.arguments();
    if (have.size() != wanted.size()) return false;
    return std::equal(have.begin(), have.end(), wanted.begin(),
                      [](const c10::Argument& a, const c10::Argument* b) {
                        return a.name() == b->name() && *a.real_type() == *b->real_type() &&
                               a.alias_info() == nullptr;
                      });
  };
  std::optional<c10::OperatorName> found;
  for (const c10::OperatorName& name : c10::Dispatcher::singleton().getAllOpNames()) {
    if (name.name != out_schema.name()) continue;
    const auto op = c10::Dispatcher::singleton().findSchema(name);
    const bool better = !found || name.overload_name < found->overload_name;
    if (op && better && fits(op->schema())) found = name;
  }
  return found;
}

}  // namespace

ir::Arg Recorder::tensor_argument(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  const bool number = tensor.dim() == 0 && tensor.device().is_cpu() &&
                      tensor.unsafeGetTensorImpl()->is_wrapped_number();
  if (number && values_.storage_of(tensor) == nullptr) return number_in(tensor);
  return values_.use(tensor);
}

ir::Arg Recorder::argument(const c10::IValue& value, const c10::TypePtr& type) {
  if (value.isNone()) return {};
  if (type->kind() == c10::TypeKind::OptionalType) return argument(value, type->containedType(0));
  if (value.isTensor()) return tensor_argument(value.toTensor());
  if (value.isBool()) return value.toBool();
  if (value.isInt()) return integer_of_type(value.toInt(), type);
  if (value.isDouble()) return value.toDouble();
  if (value.isComplexDouble()) {
    const auto c = value.toComplexDouble();
    return std::complex<double>(c.real(), c.imag());
  }
  if (value.isString()) return value.toStringRef();
  if (value.isDevice()) {
    const auto device = device_of(value.toDevice());
    if (!device) throw CannotRepresent("device " + value.toDevice().str());
    return *device;
  }
  if (value.isList()) {
    const c10::TypePtr element =
        type->kind() == c10::TypeKind::ListType ? type->containedType(0) : type;
    ir::Arg::List list;
    for (const c10::IValue& v : value.toListRef()) list.push_back(argument(v, element));
    return list;
  }
  throw CannotRepresent("an argument of type " + type->str() + " can't be kept in a graph");
}

Recorder::Call Recorder::describe(const OpFacts& facts, const CallArguments& args) {
  Call call;
  const std::size_t positionals = spelt_positionals(args);
  for (std::size_t i = 0; i < args.size(); ++i) {
    const c10::Argument& schema = args.argument(i);
    if (!schema.kwarg_only() && i < positionals) {
      call.args.push_back(argument(args[i], schema.real_type()));
    } else if (schema.kwarg_only() && !is_default(args[i], schema)) {
      call.kwargs.emplace_back(schema.name(), argument(args[i], schema.real_type()));
    }
    if (!facts.value_free) call.provenance = std::max(call.provenance, provenance_of(args[i]));
    const bool hidden =
        std::any_of(facts.hidden_writes.begin(), facts.hidden_writes.end(), [&](const auto& row) {
          return row.first == i && args[row.second].isBool() && args[row.second].toBool();
        });
    if (hidden || (schema.alias_info() != nullptr && schema.alias_info()->isWrite())) {
      for_each_tensor(args[i], [this, &call](const at::Tensor& tensor) {
        call.writes.push_back(values_.use(tensor));
        call.written.push_back(tensor);
      });
    }
  }
  if (facts.target == "aten.as_strided.default") call.args = as_strided_arguments(args);
  return call;
}

/// as_strided counts its offset from the beginning of memory; that of an input begins with the
/// input, wherever it lay in a larger storage while tracing.
std::vector<ir::Arg> Recorder::as_strided_arguments(const CallArguments& args) {
  const at::Tensor& self = args[0].toTensor();
  const std::int64_t offset = args[3].isInt() ? args[3].toInt() : self.storage_offset();
  ir::Node* node = values_.use(self);
  const std::int64_t shift = self.storage_offset() - node->type().offset;
  return {node, argument(args[1], args.argument(1).real_type()),
          argument(args[2], args.argument(2).real_type()), offset - shift};
}

Provenance Recorder::provenance_of(const c10::IValue& value) {
  Provenance most = Provenance::kFixed;
  for_each_tensor(value, [&](const at::Tensor& tensor) {
    const StorageRecord* record = values_.storage_of(tensor);
    const bool number = record == nullptr && tensor.unsafeGetTensorImpl()->is_wrapped_number();
    if (!number) most = std::max(most, record == nullptr ? Provenance::kRun : record->provenance);
  });
  return most;
}

bool Recorder::resized_outputs(const Call& call) const {
  bool resized = false;
  for (std::size_t i = 0; i < call.writes.size(); ++i) {
    const auto sizes = call.written[i].sizes();
    const auto& before = call.writes[i]->type();
    if (std::equal(sizes.begin(), sizes.end(), before.sizes.begin(), before.sizes.end())) continue;
    if (before.numel() != 0) {
      throw CannotRepresent("it resizes a tensor that it writes and that wasn't empty before");
    }
    resized = true;
  }
  return resized;
}

/// A call that resized empty out= tensors is recorded as the functional operator: its results are
/// new memory. Replaces `call.writes`; returns the target.
std::string Recorder::functional_target(const c10::OperatorHandle& op, Call& call) {
  const auto name = functional_form(op.schema());
  if (!name) throw CannotRepresent("it resizes a tensor that it writes");
  for (const c10::Argument& a : op.schema().arguments()) {
    if (!a.is_out()) continue;
    std::erase_if(call.kwargs, [&a](const auto& kwarg) { return kwarg.first == a.name(); });
  }
  for (const at::Tensor& tensor : call.written) values_.forget_storage(tensor);
  call.writes.clear();
  call.written.clear();
  return target_of(*name);
}

/// What a call returned, flat: undefined where a result is none, undefined or no tensor.
std::vector<at::Tensor> Recorder::returned(const c10::FunctionSchema& schema,
                                           const torch::jit::Stack& stack) {
  const std::size_t count = schema.returns().size();
  const c10::IValue* first = stack.data() + (stack.size() - count);
  auto tensor = [](const c10::IValue& v) { return v.isTensor() ? v.toTensor() : at::Tensor(); };
  std::vector<at::Tensor> tensors;
  if (count == 1 && first->isList()) {
    for (const c10::IValue& v : first->toListRef()) tensors.push_back(tensor(v));
  } else {
    std::transform(first, first + count, std::back_inserter(tensors), tensor);
  }
  return tensors;
}

void Recorder::add_node(const c10::OperatorHandle& op, const OpFacts& facts, Call call,
                        const torch::jit::Stack& stack) {
  const std::string target = resized_outputs(call) ? functional_target(op, call) : facts.target;
  const auto& returns = op.schema().returns();
  const bool is_list =
      returns.size() > 1 ||
      (returns.size() == 1 && returns[0].real_type()->kind() == c10::TypeKind::ListType);
  std::vector<at::Tensor> tensors;
  if (facts.returns_tensors) tensors = returned(op.schema(), stack);

  StorageRecord fresh;
  fresh.provenance = call.provenance;
  fresh.in_composite = composites_with_tensors_ > 0;
  ir::Results results{{}, is_list};
  std::vector<at::Tensor> made;
  for (const at::Tensor& tensor : tensors) {
    if (!tensor.defined()) {
      results.values.emplace_back();
      continue;
    }
    if (tensor.has_storage() && values_.storage_of(tensor) == nullptr) made.push_back(tensor);
    results.values.push_back(values_.result(tensor, fresh));
  }
  const Origin* origin = Origin::current();
  const bool whole = origin != nullptr && composites_.empty();
  ir::Node* node =
      graph_.call(target, std::move(call.args), std::move(call.kwargs), std::move(results),
                  std::move(call.writes), whole ? origin->name() : std::string());
  node->module_path = Region::current();
  if (origin != nullptr) node->source = origin->source();
  node->traits.nondeterministic = facts.undefined_contents;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].defined())
      values_.bind_result(tensors[i], node, is_list ? static_cast<int>(i) : -1);
  }
  watch(facts, call, made);
}

/// Host memory that the call made or wrote is compared with what it holds now at its next use.
void Recorder::watch(const OpFacts& facts, const Call& call, const std::vector<at::Tensor>& made) {
  for (const at::Tensor& tensor : made) {
    if (facts.undefined_contents) poison(tensor);
    values_.refresh_contents(tensor);
  }
  for (const at::Tensor& tensor : call.written) {
    StorageRecord* record = values_.storage_of(tensor);
    record->provenance = std::max(record->provenance, call.provenance);
    values_.refresh_contents(tensor);
  }
}

}  // namespace monograph::trace
