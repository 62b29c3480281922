#include "capture/trace/op_policy.h"

#include <ATen/core/TensorBody.h>
#include <ATen/core/enum_tag.h>

#include <algorithm>

#include "capture/trace/convert.h"
#include "capture/trace/op_tables.h"

namespace monograph::trace {
namespace {

bool names_operator(std::string_view row, const c10::OperatorName& name) {
  if (row.size() == name.name.size()) return row == name.name;
  return row.size() == name.name.size() + 1 + name.overload_name.size() &&
         row.starts_with(name.name) && row[name.name.size()] == '.' &&
         row.ends_with(name.overload_name);
}

template <class Table>
bool listed(const Table& table, const c10::OperatorName& name) {
  return std::any_of(table.begin(), table.end(),
                     [&name](std::string_view row) { return names_operator(row, name); });
}

/// Reason why values of `type` can't be arguments or results of a node; empty if they can.
std::string unsupported_type(const c10::TypePtr& type) {
  switch (type->kind()) {
    case c10::TypeKind::OptionalType:
    case c10::TypeKind::ListType:
      return unsupported_type(type->containedType(0));
    case c10::TypeKind::TensorType:
    case c10::TypeKind::NumberType:
    case c10::TypeKind::FloatType:
    case c10::TypeKind::ComplexType:
    case c10::TypeKind::IntType:
    case c10::TypeKind::BoolType:
    case c10::TypeKind::StringType:
    case c10::TypeKind::SymIntType:
    case c10::TypeKind::SymFloatType:
    case c10::TypeKind::SymBoolType:
    case c10::TypeKind::ScalarTypeType:
    case c10::TypeKind::LayoutType:
    case c10::TypeKind::MemoryFormatType:
    case c10::TypeKind::DeviceObjType:
      return {};
    default:
      return "a value of type " + type->str() + " can't be kept in a graph";
  }
}

bool holds_tensors(const c10::TypePtr& type) {
  if (type->kind() == c10::TypeKind::TensorType) return true;
  return (type->kind() == c10::TypeKind::OptionalType || type->kind() == c10::TypeKind::ListType) &&
         holds_tensors(type->containedType(0));
}

std::size_t index_of(const c10::FunctionSchema& schema, std::string_view name) {
  const auto& arguments = schema.arguments();
  const auto it = std::find_if(arguments.begin(), arguments.end(),
                               [name](const c10::Argument& a) { return a.name() == name; });
  return static_cast<std::size_t>(it - arguments.begin());
}

/// Result types that take part in a list of tensors: everything but a list among several results.
std::string unsupported_results(const c10::FunctionSchema& schema) {
  const auto& returns = schema.returns();
  for (const c10::Argument& result : returns) {
    if (std::string why = unsupported_type(result.real_type()); !why.empty()) return why;
    if (returns.size() > 1 && result.real_type()->kind() == c10::TypeKind::ListType) {
      return "it returns a list among other results";
    }
  }
  return {};
}

void add_hidden_writes(const c10::FunctionSchema& schema, OpFacts& facts) {
  for (const HiddenWrite& row : kHiddenWrites) {
    if (!names_operator(row.name, schema.operator_name())) continue;
    const std::size_t argument = index_of(schema, row.argument);
    const std::size_t when = index_of(schema, row.when);
    if (argument < schema.arguments().size() && when < schema.arguments().size()) {
      facts.hidden_writes.emplace_back(argument, when);
    }
  }
}

OpFacts make_facts(const c10::OperatorHandle& op) {
  const c10::FunctionSchema& schema = op.schema();
  const c10::OperatorName& name = schema.operator_name();
  OpFacts facts;
  facts.target = target_of(name);
  facts.decompose = op.hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd) &&
                    !listed(kKeptComposites, name);
  facts.random = op.hasTag(at::Tag::nondeterministic_seeded);
  facts.data_dependent =
      op.hasTag(at::Tag::data_dependent_output) || listed(kUntaggedDataDependent, name);
  facts.dynamic_shape = op.hasTag(at::Tag::dynamic_output_shape);
  facts.inplace_view = op.hasTag(at::Tag::inplace_view);
  facts.undefined_contents = listed(kUndefinedContents, name);
  facts.value_free = listed(kValueFreeFactories, name);
  bool tensor_arguments = false;
  for (const c10::Argument& argument : schema.arguments()) {
    facts.writes =
        facts.writes || (argument.alias_info() != nullptr && argument.alias_info()->isWrite());
    tensor_arguments = tensor_arguments || holds_tensors(argument.real_type());
  }
  facts.value_free = facts.value_free || !tensor_arguments;
  for (const c10::Argument& result : schema.returns()) {
    facts.returns_tensors = facts.returns_tensors || holds_tensors(result.real_type());
  }
  facts.metadata_only = listed(kMetadataOps, name);
  facts.unsupported = facts.metadata_only ? std::string() : unsupported_results(schema);
  for (const Unrepresentable& row : kUnrepresentable) {
    if (names_operator(row.name, name)) facts.unsupported = row.reason;
  }
  for (const NumberForm& row : kNumberForms) {
    if (!names_operator(row.name, name)) continue;
    facts.tensor_form =
        c10::Dispatcher::singleton().findSchema({name.name, std::string(row.tensor_overload)});
  }
  add_hidden_writes(schema, facts);
  return facts;
}

bool is_zero(const c10::IValue& value) {
  return (value.isDouble() && value.toDouble() == 0.0) || (value.isInt() && value.toInt() == 0);
}

bool is_false(const c10::IValue* value) {
  return value != nullptr && value->isBool() && !value->toBool();
}

bool same_memory_and_type(const at::Tensor& a, const at::Tensor& b) {
  if (a.is_same(b)) return true;
  return a.has_storage() && b.has_storage() && a.is_alias_of(b) &&
         a.storage_offset() == b.storage_offset() && a.scalar_type() == b.scalar_type() &&
         a.sizes() == b.sizes() && a.strides() == b.strides() && a.is_conj() == b.is_conj() &&
         a.is_neg() == b.is_neg();
}

}  // namespace

const OpFacts& OpPolicy::facts(const c10::OperatorHandle& op) {
  const auto [it, inserted] = cache_.try_emplace(&op.schema());
  if (inserted) it->second = make_facts(op);
  return it->second;
}

const c10::IValue* CallArguments::find(std::string_view name) const {
  const std::size_t i = index_of(schema_, name);
  return i < size() ? first_ + i : nullptr;
}

bool draws_random(const CallArguments& call) {
  if (is_false(call.find("train")) || is_false(call.find("training"))) return false;
  for (const std::string_view name : {"dropout", "dropout_p"}) {
    if (const c10::IValue* p = call.find(name); p != nullptr && is_zero(*p)) return false;
  }
  const c10::IValue* p = call.find("p");
  const bool has_train = call.find("train") != nullptr;
  return !(has_train && p != nullptr && is_zero(*p));
}

bool reads_values(const OpFacts& facts, const CallArguments& call) {
  if (facts.target == "aten.equal.default" && call[0].toTensor().defined() &&
      call[1].toTensor().defined()) {
    const at::Tensor& a = call[0].toTensor();
    const at::Tensor& b = call[1].toTensor();
    if (a.sizes() != b.sizes()) return false;
    // A tensor equals itself. (NaN aside: the caller who asks this wants to know whether two
    // arguments are one tensor, and both answers must lead to the same values.)
    return !same_memory_and_type(a, b);
  }
  return true;
}

bool has_dynamic_shape(const OpFacts& facts, const CallArguments& call) {
  if (facts.target == "aten.one_hot.default") {
    const c10::IValue* classes = call.find("num_classes");
    return classes == nullptr || !classes->isInt() || classes->toInt() < 0;
  }
  if (facts.target == "aten.repeat_interleave.Tensor") {
    const c10::IValue* size = call.find("output_size");
    return size == nullptr || size->isNone();
  }
  if (facts.target != "aten.index.Tensor") return true;
  bool masked = false;
  for_each_tensor(call[1], [&masked](const at::Tensor& index) {
    masked = masked || index.scalar_type() == at::kBool || index.scalar_type() == at::kByte;
  });
  return masked;
}

}  // namespace monograph::trace
