// Between LibTorch's types and the IR's: element types, devices, tensor types, operator names.
#pragma once

#include <ATen/core/TensorBody.h>
#include <ATen/core/operator_name.h>

#include <optional>
#include <string>
#include <string_view>

#include "capture/ir/types.h"

namespace monograph::trace {

/// nullopt where the IR has no such type (quantised types, unsigned types wider than 8 bits, ...).
std::optional<ir::DType> dtype_of(at::ScalarType type) noexcept;
/// at::ScalarType::Undefined for kUndefined.
at::ScalarType scalar_type_of(ir::DType type) noexcept;

/// nullopt for anything but cpu, cuda and meta.
std::optional<ir::Device> device_of(const at::Device& device) noexcept;
at::Device torch_device(const ir::Device& device) noexcept;

ir::Layout layout_of(at::Layout layout) noexcept;
/// nullopt for kOther.
std::optional<at::Layout> torch_layout(ir::Layout layout) noexcept;
ir::MemoryFormat memory_format_of(at::MemoryFormat format) noexcept;
at::MemoryFormat torch_memory_format(ir::MemoryFormat format) noexcept;

/// Why the IR can't describe `tensor` (sparse, quantised, lazily conjugated, ...); empty if it can.
std::string unsupported_reason(const at::Tensor& tensor);
/// Type of a defined tensor for which `unsupported_reason` is empty. The offset is the tensor's own
/// storage offset.
ir::TensorType type_of(const at::Tensor& tensor);

/// "aten::add" with overload "Tensor" -> "aten.add.Tensor"; an empty overload becomes "default".
std::string target_of(const c10::OperatorName& name);
/// The inverse; nullopt if `target` isn't "namespace.op.overload".
std::optional<c10::OperatorName> operator_name_of(std::string_view target);

/// A 0-dimensional tensor that takes part in type promotion as the C++ number it is made of.
at::Tensor wrapped_number(const at::Scalar& number);

/// "f32[2, 3] on cpu", for messages; "an undefined tensor".
std::string describe(const at::Tensor& tensor);

}  // namespace monograph::trace
