#include "runtime/host/convert.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include "capture/ir/text.h"
#include "capture/trace/convert.h"

namespace monograph::host {
namespace {

[[noreturn]] void mismatch(const ir::Arg& arg, const c10::Type& type) {
  throw Error(Code::kInvalidGraph,
              fmt::format("argument {} can't be a {}", ir::text(arg), type.str()));
}

const at::Tensor& tensor_of(const ir::Node& node, const Resolver& resolve) {
  const std::vector<at::Tensor>& tensors = resolve(node);
  if (node.is_list() || tensors.size() != 1) {
    throw Error(Code::kInvalidGraph, "a list of tensors stands where one tensor is expected",
                node.name());
  }
  return tensors.front();
}

std::int64_t to_int(const ir::Arg& arg, const c10::Type& type) {
  if (const auto* v = arg.get_if<std::int64_t>()) return *v;
  if (const auto* v = arg.get_if<bool>()) return *v ? 1 : 0;
  if (const auto* v = arg.get_if<ir::DType>()) {
    return static_cast<std::int64_t>(trace::scalar_type_of(*v));
  }
  if (const auto* v = arg.get_if<ir::Layout>()) {
    if (const auto layout = trace::torch_layout(*v)) return static_cast<std::int64_t>(*layout);
  }
  if (const auto* v = arg.get_if<ir::MemoryFormat>()) {
    return static_cast<std::int64_t>(trace::torch_memory_format(*v));
  }
  mismatch(arg, type);
}

double to_double(const ir::Arg& arg, const c10::Type& type) {
  if (const auto* v = arg.get_if<double>()) return *v;
  if (const auto* v = arg.get_if<std::int64_t>()) return static_cast<double>(*v);
  mismatch(arg, type);
}

c10::IValue to_number(const ir::Arg& arg, const c10::Type& type) {
  if (const auto* v = arg.get_if<bool>()) return c10::IValue(at::Scalar(*v));
  if (const auto* v = arg.get_if<std::int64_t>()) return c10::IValue(at::Scalar(*v));
  if (const auto* v = arg.get_if<double>()) return c10::IValue(at::Scalar(*v));
  if (const auto* v = arg.get_if<std::complex<double>>()) {
    return c10::IValue(at::Scalar(c10::complex<double>(v->real(), v->imag())));
  }
  mismatch(arg, type);
}

/// Elements of a list argument; a bare value repeats `count` times where the schema allows it.
ir::Arg::List elements(const ir::Arg& arg, const c10::Type& type, std::optional<int> count) {
  if (arg.is_list()) return arg.list();
  if (!count) mismatch(arg, type);
  return ir::Arg::List(static_cast<std::size_t>(*count), arg);
}

c10::IValue tensor_list(const ir::Arg& arg, const c10::Type& type, const Resolver& resolve) {
  c10::List<at::Tensor> out;
  if (arg.is_node() && arg.node()->is_list()) {
    for (const at::Tensor& t : resolve(*arg.node())) out.push_back(t);
    return out;
  }
  if (!arg.is_list()) mismatch(arg, type);
  for (const ir::Arg& e : arg.list()) {
    if (!e.is_node()) mismatch(arg, type);
    out.push_back(tensor_of(*e.node(), resolve));
  }
  return out;
}

c10::IValue optional_tensor_list(const ir::Arg& arg, const c10::Type& type,
                                 const Resolver& resolve) {
  if (!arg.is_list()) mismatch(arg, type);
  c10::List<std::optional<at::Tensor>> out;
  for (const ir::Arg& e : arg.list()) {
    if (e.is_none()) {
      out.push_back(std::nullopt);
    } else if (e.is_node()) {
      out.push_back(tensor_of(*e.node(), resolve));
    } else {
      mismatch(arg, type);
    }
  }
  return out;
}

c10::IValue to_list(const ir::Arg& arg, const c10::ListType& type, std::optional<int> count,
                    const Resolver& resolve) {
  const c10::Type& element = *type.getElementType();
  switch (element.kind()) {
    case c10::TypeKind::TensorType:
      return tensor_list(arg, type, resolve);
    case c10::TypeKind::OptionalType:
      return optional_tensor_list(arg, type, resolve);
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType: {
      c10::List<std::int64_t> out;
      for (const ir::Arg& e : elements(arg, type, count)) out.push_back(to_int(e, element));
      return out;
    }
    case c10::TypeKind::FloatType: {
      c10::List<double> out;
      for (const ir::Arg& e : elements(arg, type, count)) out.push_back(to_double(e, element));
      return out;
    }
    case c10::TypeKind::BoolType: {
      c10::List<bool> out;
      for (const ir::Arg& e : elements(arg, type, count)) {
        if (!e.is<bool>()) mismatch(arg, type);
        out.push_back(e.as<bool>());
      }
      return out;
    }
    default: {
      c10::impl::GenericList out(type.getElementType());
      for (const ir::Arg& e : elements(arg, type, std::nullopt)) {
        out.push_back(to_ivalue(e, element, std::nullopt, resolve));
      }
      return out;
    }
  }
}

}  // namespace

c10::IValue to_ivalue(const ir::Arg& arg, const c10::Type& type, std::optional<int> count,
                      const Resolver& resolve) {
  switch (type.kind()) {
    case c10::TypeKind::OptionalType:
      if (arg.is_none()) return {};
      return to_ivalue(arg, *type.castRaw<c10::OptionalType>()->getElementType(), count, resolve);
    case c10::TypeKind::TensorType:
      if (arg.is_none()) return at::Tensor();
      if (!arg.is_node()) mismatch(arg, type);
      return tensor_of(*arg.node(), resolve);
    case c10::TypeKind::ListType:
      return to_list(arg, *type.castRaw<c10::ListType>(), count, resolve);
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType:
    case c10::TypeKind::ScalarTypeType:
    case c10::TypeKind::LayoutType:
    case c10::TypeKind::MemoryFormatType:
      return to_int(arg, type);
    case c10::TypeKind::FloatType:
    case c10::TypeKind::SymFloatType:
      return to_double(arg, type);
    case c10::TypeKind::NumberType:
      return to_number(arg, type);
    case c10::TypeKind::BoolType:
    case c10::TypeKind::SymBoolType:
      if (!arg.is<bool>()) mismatch(arg, type);
      return arg.as<bool>();
    case c10::TypeKind::StringType:
      if (!arg.is<std::string>()) mismatch(arg, type);
      return arg.as<std::string>();
    case c10::TypeKind::DeviceObjType:
      if (!arg.is<ir::Device>()) mismatch(arg, type);
      return trace::torch_device(arg.as<ir::Device>());
    default:
      if (arg.is_none()) return {};
      mismatch(arg, type);
  }
}

}  // namespace monograph::host
