#include "runtime/cuda/backend/convert_call.h"

#include <algorithm>

namespace monograph::cuda {
namespace {

std::optional<kernels::DType> to_kernel_dtype(ir::DType dtype) {
  switch (dtype) {
    case ir::DType::kBool:
      return kernels::DType::kBool;
    case ir::DType::kU8:
      return kernels::DType::kU8;
    case ir::DType::kI8:
      return kernels::DType::kI8;
    case ir::DType::kI16:
      return kernels::DType::kI16;
    case ir::DType::kI32:
      return kernels::DType::kI32;
    case ir::DType::kI64:
      return kernels::DType::kI64;
    case ir::DType::kF16:
      return kernels::DType::kF16;
    case ir::DType::kBF16:
      return kernels::DType::kBF16;
    case ir::DType::kF32:
      return kernels::DType::kF32;
    case ir::DType::kF64:
      return kernels::DType::kF64;
    default:
      return std::nullopt;
  }
}

/// Storages are 256-byte aligned in the arena and at least 16-byte aligned elsewhere (LibTorch's
/// allocators give more; the runner checks callers' tensors).
std::int64_t alignment_of(const ir::TensorType& type) {
  constexpr std::int64_t kBase = 16;
  const std::int64_t offset = type.offset * ir::itemsize(type.dtype);
  if (offset == 0) return kBase;
  return std::min(kBase, offset & -offset);
}

std::optional<kernels::TensorDesc> describe(const ir::TensorType& type, std::string* why) {
  const auto dtype = to_kernel_dtype(type.dtype);
  if (!dtype) {
    *why = "dtype " + std::string(ir::dtype_name(type.dtype));
    return std::nullopt;
  }
  return kernels::TensorDesc{*dtype, type.sizes, type.strides, alignment_of(type)};
}

class Converter {
 public:
  explicit Converter(std::string* why) : why_(why) {}

  std::optional<kernels::Argument> convert(const ir::Arg& arg) {
    kernels::Argument out;
    if (const auto* node = arg.get_if<ir::Node*>())
      return tensor(**node, out) ? std::optional(out) : std::nullopt;
    if (const auto* list = arg.get_if<ir::Arg::List>()) return convert_list(*list);
    if (const auto* b = arg.get_if<bool>()) out.scalar = *b;
    if (const auto* i = arg.get_if<std::int64_t>()) out.scalar = *i;
    if (const auto* d = arg.get_if<double>()) out.scalar = *d;
    if (const auto* s = arg.get_if<std::string>()) out.scalar = *s;
    if (const auto* t = arg.get_if<ir::DType>()) {
      const auto dtype = to_kernel_dtype(*t);
      if (!dtype) {
        *why_ = "dtype argument " + std::string(ir::dtype_name(*t));
        return std::nullopt;
      }
      out.scalar = *dtype;
    }
    if (arg.is<std::complex<double>>()) {
      *why_ = "complex argument";
      return std::nullopt;
    }
    return out;  // None, devices, layouts and memory formats say nothing that types don't
  }

  KernelCall result;

 private:
  std::optional<kernels::Argument> convert_list(const ir::Arg::List& list) {
    kernels::Argument out;
    const bool has_tensors =
        std::ranges::any_of(list, [](const ir::Arg& a) { return a.is_node(); });
    if (has_tensors) {
      out.is_tensor_list = true;
      for (const ir::Arg& a : list) {
        if (!a.is_node()) {
          *why_ = "list of tensors and other values";
          return std::nullopt;
        }
        if (!tensor(*a.node(), out)) return std::nullopt;
      }
      return out;
    }
    std::vector<std::int64_t> ints;
    for (const ir::Arg& a : list) {
      if (const auto* i = a.get_if<std::int64_t>()) {
        ints.push_back(*i);
      } else if (const auto* b = a.get_if<bool>()) {
        ints.push_back(*b ? 1 : 0);
      } else {
        *why_ = "list argument of another kind";
        return std::nullopt;
      }
    }
    out.scalar = std::move(ints);
    return out;
  }

  bool tensor(const ir::Node& node, kernels::Argument& out) {
    for (std::size_t e = 0; e < node.values().size(); ++e) {
      const auto desc = describe(node.values()[e].type, why_);
      if (!desc) return false;
      out.tensors.push_back(static_cast<std::int32_t>(result.call.inputs.size()));
      result.call.inputs.push_back(*desc);
      result.input_nodes.push_back(&node);
      result.input_elements.push_back(e);
    }
    out.is_tensor_list = out.is_tensor_list || node.is_list();
    return true;
  }

  std::string* why_;
};

}  // namespace

std::optional<KernelCall> to_kernel_call(const ir::Node& node, std::string* why) {
  Converter converter(why);
  converter.result.call.op = node.target();
  for (const ir::Arg& a : node.args()) {
    auto arg = converter.convert(a);
    if (!arg) return std::nullopt;
    converter.result.call.args.push_back(std::move(*arg));
  }
  for (const auto& [name, a] : node.kwargs()) {
    auto arg = converter.convert(a);
    if (!arg) return std::nullopt;
    converter.result.call.kwargs.emplace_back(name, std::move(*arg));
  }
  for (const ir::Value& v : node.values()) {
    const auto desc = describe(v.type, why);
    if (!desc) return std::nullopt;
    converter.result.call.outputs.push_back(*desc);
  }
  return std::move(converter.result);
}

}  // namespace monograph::cuda
