#include "capture/trace/arguments.h"

#include <ATen/core/List.h>
#include <monograph/error.h>

#include "capture/ir/text.h"
#include "capture/trace/convert.h"

namespace monograph::trace {
namespace {

/// One node's arguments: keeps what error messages need.
class Binder {
 public:
  Binder(const ir::Node& node, const Resolver& resolve) : node_(node), resolve_(resolve) {}

  c10::IValue bind(const ir::Arg& arg, const c10::Argument& formal) {
    formal_ = &formal;
    return value(arg, formal.real_type());
  }

  [[noreturn]] void fail(const std::string& message) const {
    throw Error(Code::kInvalidGraph, node_.target() + ": " + message, node_.name());
  }

 private:
  [[noreturn]] void mismatch(const ir::Arg& arg, const c10::TypePtr& type) const {
    fail("argument '" + formal_->name() + "' expects " + type->str() + ", got " + ir::text(arg));
  }

  c10::IValue value(const ir::Arg& arg, const c10::TypePtr& type) {
    switch (type->kind()) {
      case c10::TypeKind::OptionalType:
        return arg.is_none() ? c10::IValue() : value(arg, type->containedType(0));
      case c10::TypeKind::TensorType:
        return tensor(arg, type);
      case c10::TypeKind::ListType:
        return list(arg, type);
      case c10::TypeKind::IntType:
      case c10::TypeKind::SymIntType:
      case c10::TypeKind::ScalarTypeType:
      case c10::TypeKind::LayoutType:
      case c10::TypeKind::MemoryFormatType:
        return integer(arg, type);
      case c10::TypeKind::FloatType:
      case c10::TypeKind::SymFloatType:
        return real(arg, type);
      case c10::TypeKind::NumberType:
        return number(arg, type);
      case c10::TypeKind::BoolType:
      case c10::TypeKind::SymBoolType:
        return exactly<bool>(arg, type);
      case c10::TypeKind::StringType:
        return exactly<std::string>(arg, type);
      case c10::TypeKind::DeviceObjType:
        return torch_device(exactly<ir::Device>(arg, type));
      default:
        if (arg.is_none()) return {};
        mismatch(arg, type);
    }
  }

  template <class T>
  const T& exactly(const ir::Arg& arg, const c10::TypePtr& type) const {
    if (!arg.is<T>()) mismatch(arg, type);
    return arg.as<T>();
  }

  std::int64_t integer(const ir::Arg& arg, const c10::TypePtr& type) const {
    if (const auto* v = arg.get_if<std::int64_t>()) return *v;
    if (const auto* v = arg.get_if<bool>()) return *v ? 1 : 0;
    if (const auto* v = arg.get_if<ir::DType>()) {
      return static_cast<std::int64_t>(scalar_type_of(*v));
    }
    if (const auto* v = arg.get_if<ir::Layout>()) {
      if (const auto layout = torch_layout(*v)) return static_cast<std::int64_t>(*layout);
    }
    if (const auto* v = arg.get_if<ir::MemoryFormat>()) {
      return static_cast<std::int64_t>(torch_memory_format(*v));
    }
    mismatch(arg, type);
  }

  double real(const ir::Arg& arg, const c10::TypePtr& type) const {
    if (const auto* v = arg.get_if<double>()) return *v;
    if (const auto* v = arg.get_if<std::int64_t>()) return static_cast<double>(*v);
    mismatch(arg, type);
  }

  at::Scalar number(const ir::Arg& arg, const c10::TypePtr& type) const {
    if (const auto* v = arg.get_if<bool>()) return *v;
    if (const auto* v = arg.get_if<std::int64_t>()) return *v;
    if (const auto* v = arg.get_if<double>()) return *v;
    if (const auto* v = arg.get_if<std::complex<double>>()) {
      return c10::complex<double>(v->real(), v->imag());
    }
    mismatch(arg, type);
  }

  at::Tensor tensor(const ir::Arg& arg, const c10::TypePtr& type) const {
    if (arg.is_none()) return {};
    if (!arg.is_node()) return wrapped_number(number(arg, type));
    const std::vector<at::Tensor>& tensors = resolve_(*arg.node());
    if (arg.node()->is_list() || tensors.size() != 1) mismatch(arg, type);
    return tensors.front();
  }

  /// Elements of a list; a single value stands for a list of the schema's fixed length.
  ir::Arg::List elements(const ir::Arg& arg, const c10::TypePtr& type) const {
    if (arg.is_list()) return arg.list();
    if (!formal_->N()) mismatch(arg, type);
    return ir::Arg::List(static_cast<std::size_t>(*formal_->N()), arg);
  }

  c10::IValue list(const ir::Arg& arg, const c10::TypePtr& type) {
    const c10::TypePtr element = type->containedType(0);
    c10::impl::GenericList out(element);
    if (arg.is_node() && arg.node()->is_list()) {
      for (const at::Tensor& t : resolve_(*arg.node())) out.push_back(t);
    } else {
      for (const ir::Arg& e : elements(arg, type)) out.push_back(value(e, element));
    }
    return typed(std::move(out), element);
  }

  /// LibTorch's boxed lists know their element type; symbolic integers travel as plain ones.
  static c10::IValue typed(c10::impl::GenericList generic, const c10::TypePtr& element) {
    switch (element->kind()) {
      case c10::TypeKind::IntType:
      case c10::TypeKind::SymIntType: {
        c10::List<std::int64_t> out;
        for (std::size_t i = 0; i < generic.size(); ++i) out.push_back(generic.get(i).toInt());
        return out;
      }
      case c10::TypeKind::OptionalType: {
        if (element->containedType(0)->kind() != c10::TypeKind::TensorType) return generic;
        c10::List<std::optional<at::Tensor>> out;
        for (std::size_t i = 0; i < generic.size(); ++i) {
          const c10::IValue v = generic.get(i);
          out.push_back(v.isNone() ? std::nullopt : std::optional(v.toTensor()));
        }
        return out;
      }
      default:
        return generic;
    }
  }

  const ir::Node& node_;
  const Resolver& resolve_;
  const c10::Argument* formal_ = nullptr;
};

}  // namespace

c10::OperatorHandle operator_of(const ir::Node& node) {
  const auto name = operator_name_of(node.target());
  if (name) {
    if (const auto op = c10::Dispatcher::singleton().findSchema(*name)) return *op;
  }
  throw Error(Code::kInvalidGraph, "no operator '" + node.target() + "' is registered",
              node.name());
}

torch::jit::Stack bind_arguments(const ir::Node& node, const c10::FunctionSchema& schema,
                                 const Resolver& resolve) {
  Binder binder(node, resolve);
  const auto& formals = schema.arguments();
  if (node.args().size() > formals.size()) {
    binder.fail("takes " + std::to_string(formals.size()) + " arguments, got " +
                std::to_string(node.args().size()));
  }
  for (const auto& [name, value] : node.kwargs()) {
    const auto index = schema.argumentIndexWithName(name);
    if (!index) binder.fail("has no argument '" + name + "'");
    if (static_cast<std::size_t>(*index) < node.args().size()) {
      binder.fail("argument '" + name + "' is given twice");
    }
  }
  torch::jit::Stack stack;
  stack.reserve(formals.size());
  for (std::size_t i = 0; i < formals.size(); ++i) {
    const c10::Argument& formal = formals[i];
    const ir::Arg* arg = i < node.args().size() ? &node.args()[i] : node.kwarg(formal.name());
    if (arg != nullptr) {
      stack.push_back(binder.bind(*arg, formal));
    } else if (formal.default_value()) {
      stack.push_back(*formal.default_value());
    } else {
      binder.fail("lacks argument '" + formal.name() + "'");
    }
  }
  return stack;
}

void assign_for_call(torch::jit::Stack& stack, const torch::jit::Stack& args) {
  stack.assign(args.begin(), args.end());
  for (c10::IValue& v : stack) {
    if (v.isTensorList() || v.isOptionalTensorList()) v = v.toList().copy();
  }
}

}  // namespace monograph::trace
