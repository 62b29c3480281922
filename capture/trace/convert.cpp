#include "capture/trace/convert.h"

#include <ATen/ScalarOps.h>

#include <array>
#include <utility>

namespace monograph::trace {
namespace {

using ir::DType;

constexpr std::array<std::pair<at::ScalarType, DType>, 14> kDTypes{{
    {at::kBool, DType::kBool},
    {at::kByte, DType::kU8},
    {at::kChar, DType::kI8},
    {at::kShort, DType::kI16},
    {at::kInt, DType::kI32},
    {at::kLong, DType::kI64},
    {at::kHalf, DType::kF16},
    {at::kBFloat16, DType::kBF16},
    {at::kFloat, DType::kF32},
    {at::kDouble, DType::kF64},
    {at::kComplexFloat, DType::kC64},
    {at::kComplexDouble, DType::kC128},
    {at::kFloat8_e4m3fn, DType::kF8E4M3FN},
    {at::kFloat8_e5m2, DType::kF8E5M2},
}};

}  // namespace

std::optional<DType> dtype_of(at::ScalarType type) noexcept {
  for (const auto& [torch, ours] : kDTypes) {
    if (torch == type) return ours;
  }
  return std::nullopt;
}

at::ScalarType scalar_type_of(DType type) noexcept {
  for (const auto& [torch, ours] : kDTypes) {
    if (ours == type) return torch;
  }
  return at::ScalarType::Undefined;
}

std::optional<ir::Device> device_of(const at::Device& device) noexcept {
  switch (device.type()) {
    case at::kCPU:
      return ir::Device{ir::DeviceType::kCpu, -1};
    case at::kCUDA:
      return ir::Device{ir::DeviceType::kCuda, device.index()};
    case at::kMeta:
      return ir::Device{ir::DeviceType::kMeta, -1};
    default:
      return std::nullopt;
  }
}

at::Device torch_device(const ir::Device& device) noexcept {
  switch (device.type) {
    case ir::DeviceType::kCuda:
      return {at::kCUDA, static_cast<at::DeviceIndex>(device.index)};
    case ir::DeviceType::kMeta:
      return at::kMeta;
    case ir::DeviceType::kCpu:
      break;
  }
  return at::kCPU;
}

ir::Layout layout_of(at::Layout layout) noexcept {
  if (layout == at::kStrided) return ir::Layout::kStrided;
  return layout == at::kSparse ? ir::Layout::kSparse : ir::Layout::kOther;
}

std::optional<at::Layout> torch_layout(ir::Layout layout) noexcept {
  switch (layout) {
    case ir::Layout::kStrided:
      return at::kStrided;
    case ir::Layout::kSparse:
      return at::kSparse;
    case ir::Layout::kOther:
      break;
  }
  return std::nullopt;
}

ir::MemoryFormat memory_format_of(at::MemoryFormat format) noexcept {
  switch (format) {
    case at::MemoryFormat::Preserve:
      return ir::MemoryFormat::kPreserve;
    case at::MemoryFormat::ChannelsLast:
      return ir::MemoryFormat::kChannelsLast;
    case at::MemoryFormat::ChannelsLast3d:
      return ir::MemoryFormat::kChannelsLast3d;
    default:
      return ir::MemoryFormat::kContiguous;
  }
}

at::MemoryFormat torch_memory_format(ir::MemoryFormat format) noexcept {
  switch (format) {
    case ir::MemoryFormat::kPreserve:
      return at::MemoryFormat::Preserve;
    case ir::MemoryFormat::kChannelsLast:
      return at::MemoryFormat::ChannelsLast;
    case ir::MemoryFormat::kChannelsLast3d:
      return at::MemoryFormat::ChannelsLast3d;
    case ir::MemoryFormat::kContiguous:
      break;
  }
  return at::MemoryFormat::Contiguous;
}

std::string unsupported_reason(const at::Tensor& tensor) {
  if (tensor.layout() != at::kStrided || !tensor.has_storage()) {
    return "it is not a strided tensor (sparse, nested or opaque layout)";
  }
  if (!dtype_of(tensor.scalar_type())) {
    return std::string("its element type ") + c10::toString(tensor.scalar_type()) +
           " has no counterpart in the graph";
  }
  const auto device = device_of(tensor.device());
  if (!device || device->type == ir::DeviceType::kMeta) {
    return "it lives on device " + tensor.device().str() + ", neither cpu nor cuda";
  }
  if (tensor.is_conj() || tensor.is_neg()) {
    return "it is lazily conjugated or negated: its memory doesn't hold its values";
  }
  return {};
}

ir::TensorType type_of(const at::Tensor& tensor) {
  ir::TensorType type;
  type.dtype = dtype_of(tensor.scalar_type()).value();
  type.sizes = tensor.sizes().vec();
  type.strides = tensor.strides().vec();
  type.offset = tensor.storage_offset();
  type.device = device_of(tensor.device()).value();
  return type;
}

std::string target_of(const c10::OperatorName& name) {
  std::string target = name.name;
  if (const auto colons = target.find("::"); colons != std::string::npos) {
    target.replace(colons, 2, ".");
  }
  return target + "." + (name.overload_name.empty() ? "default" : name.overload_name);
}

std::optional<c10::OperatorName> operator_name_of(std::string_view target) {
  const auto first = target.find('.');
  const auto last = target.rfind('.');
  if (first == std::string_view::npos || first == last || first == 0 || last == first + 1 ||
      last + 1 == target.size()) {
    return std::nullopt;
  }
  std::string name(target.substr(0, first));
  name += "::";
  name += target.substr(first + 1, last - first - 1);
  std::string overload(target.substr(last + 1));
  if (overload == "default") overload.clear();
  return c10::OperatorName(std::move(name), std::move(overload));
}

at::Tensor wrapped_number(const at::Scalar& number) {
  at::Tensor wrapped = c10::scalar_to_tensor(number);
  wrapped.unsafeGetTensorImpl()->set_wrapped_number(true);
  return wrapped;
}

std::string describe(const at::Tensor& tensor) {
  if (!tensor.defined()) return "an undefined tensor";
  const auto dtype = dtype_of(tensor.scalar_type());
  std::string text(dtype ? ir::dtype_name(*dtype) : c10::toString(tensor.scalar_type()));
  text += '[';
  for (std::size_t i = 0; i < tensor.sizes().size(); ++i) {
    if (i != 0) text += ", ";
    text += std::to_string(tensor.sizes()[i]);
  }
  return text + "] on " + tensor.device().str();
}

}  // namespace monograph::trace
