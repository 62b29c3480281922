// What the recorder does with an operator: schema, tags and op_tables.h, looked up once per
// operator.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace monograph::trace {

/// Facts that don't depend on a call's arguments.
struct OpFacts {
  std::string target;      ///< "aten.linear.default"
  bool decompose = false;  ///< recorded as the operators its composite kernel calls
  std::optional<c10::OperatorHandle> tensor_form;  ///< called in its place, see kNumberForms
  bool random = false;                             ///< tagged so; see draws_random
  bool data_dependent = false;                     ///< reads tensor values on the host
  bool dynamic_shape = false;                      ///< result sizes depend on tensor values
  bool inplace_view = false;  ///< changes sizes, strides or storage of its argument
  bool undefined_contents = false;
  bool value_free = false;  ///< no argument's values reach the result
  bool returns_tensors = false;
  bool writes = false;         ///< by schema
  bool metadata_only = false;  ///< runs without a node
  std::string unsupported;     ///< why no call of it can be represented; empty if one may
  std::vector<std::pair<std::size_t, std::size_t>> hidden_writes;  ///< argument, condition
};

/// Facts of `op`, cached by operator. Not thread-safe: one per recording.
class OpPolicy {
 public:
  const OpFacts& facts(const c10::OperatorHandle& op);

 private:
  std::unordered_map<const c10::FunctionSchema*, OpFacts> cache_;
};

/// The arguments of a boxed call, as they lie on the stack before it.
class CallArguments {
 public:
  CallArguments(const c10::FunctionSchema& schema, const torch::jit::Stack& stack)
      : schema_(schema), first_(stack.data() + (stack.size() - schema.arguments().size())) {}
  std::size_t size() const { return schema_.arguments().size(); }
  const c10::IValue& operator[](std::size_t i) const { return first_[i]; }
  const c10::Argument& argument(std::size_t i) const { return schema_.arguments()[i]; }
  /// nullptr if the schema has no such argument.
  const c10::IValue* find(std::string_view name) const;

 private:
  const c10::FunctionSchema& schema_;
  const c10::IValue* first_;
};

/// True unless the arguments switch the randomness of an operator tagged random off: train(ing)
/// false, or a dropout probability of zero.
bool draws_random(const CallArguments& call);

/// True unless the answer of a data-dependent operator is known from identity alone, as for
/// `equal` of a tensor with itself.
bool reads_values(const OpFacts& facts, const CallArguments& call);

/// True unless an operator tagged dynamic has a shape known from other arguments, as one_hot with
/// num_classes, or from metadata, as index with integers.
bool has_dynamic_shape(const OpFacts& facts, const CallArguments& call);

/// Calls `fn(const at::Tensor&)` for each defined tensor in `value`, in order.
template <class Fn>
void for_each_tensor(const c10::IValue& value, Fn&& fn) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) fn(value.toTensor());
  } else if (value.isList()) {
    for (const c10::IValue& element : value.toListRef()) for_each_tensor(element, fn);
  }
}

}  // namespace monograph::trace
