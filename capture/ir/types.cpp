#include "capture/ir/types.h"

#include <array>

namespace monograph::ir {
namespace {

struct DTypeInfo {
  DType dtype;
  std::string_view name;
  std::string_view python;
  std::int64_t bytes;
};

constexpr std::array<DTypeInfo, 15> kDTypes{{
    {DType::kUndefined, "undefined", "None", 0},
    {DType::kBool, "bool", "torch.bool", 1},
    {DType::kU8, "u8", "torch.uint8", 1},
    {DType::kI8, "i8", "torch.int8", 1},
    {DType::kI16, "i16", "torch.int16", 2},
    {DType::kI32, "i32", "torch.int32", 4},
    {DType::kI64, "i64", "torch.int64", 8},
    {DType::kF16, "f16", "torch.float16", 2},
    {DType::kBF16, "bf16", "torch.bfloat16", 2},
    {DType::kF32, "f32", "torch.float32", 4},
    {DType::kF64, "f64", "torch.float64", 8},
    {DType::kC64, "c64", "torch.complex64", 8},
    {DType::kC128, "c128", "torch.complex128", 16},
    {DType::kF8E4M3FN, "f8e4m3fn", "torch.float8_e4m3fn", 1},
    {DType::kF8E5M2, "f8e5m2", "torch.float8_e5m2", 1},
}};

const DTypeInfo& info(DType dtype) noexcept {
  return kDTypes[static_cast<std::size_t>(dtype)];
}

}  // namespace

std::int64_t itemsize(DType dtype) noexcept {
  return info(dtype).bytes;
}
std::string_view dtype_name(DType dtype) noexcept {
  return info(dtype).name;
}
std::string_view python_dtype_name(DType dtype) noexcept {
  return info(dtype).python;
}

std::optional<DType> dtype_from_name(std::string_view name) noexcept {
  for (const DTypeInfo& d : kDTypes) {
    if (d.name == name) return d.dtype;
  }
  return std::nullopt;
}

std::optional<DType> dtype_from_python_name(std::string_view name) noexcept {
  for (const DTypeInfo& d : kDTypes) {
    if (d.python == name && d.dtype != DType::kUndefined) return d.dtype;
  }
  return std::nullopt;
}

bool is_floating(DType dtype) noexcept {
  switch (dtype) {
    case DType::kF16:
    case DType::kBF16:
    case DType::kF32:
    case DType::kF64:
    case DType::kF8E4M3FN:
    case DType::kF8E5M2:
      return true;
    default:
      return false;
  }
}

bool is_integral(DType dtype) noexcept {
  switch (dtype) {
    case DType::kU8:
    case DType::kI8:
    case DType::kI16:
    case DType::kI32:
    case DType::kI64:
      return true;
    default:
      return false;
  }
}

std::string to_string(const Device& device) {
  constexpr std::array<std::string_view, 3> kNames{"cpu", "cuda", "meta"};
  std::string s = "device(type='";
  s += kNames[static_cast<std::size_t>(device.type)];
  s += "'";
  if (device.index >= 0) s += ", index=" + std::to_string(device.index);
  return s + ")";
}

std::string_view layout_name(Layout layout) noexcept {
  constexpr std::array<std::string_view, 3> kNames{"torch.strided", "torch.sparse_coo",
                                                   "torch.other"};
  return kNames[static_cast<std::size_t>(layout)];
}

std::string_view memory_format_name(MemoryFormat format) noexcept {
  constexpr std::array<std::string_view, 4> kNames{"torch.contiguous_format",
                                                   "torch.preserve_format", "torch.channels_last",
                                                   "torch.channels_last_3d"};
  return kNames[static_cast<std::size_t>(format)];
}

std::vector<std::int64_t> contiguous_strides(const std::vector<std::int64_t>& sizes) {
  std::vector<std::int64_t> strides(sizes.size());
  std::int64_t step = 1;
  for (std::size_t i = sizes.size(); i-- > 0;) {
    strides[i] = step;
    step *= sizes[i] > 1 ? sizes[i] : 1;
  }
  return strides;
}

TensorType TensorType::contiguous(DType dtype, std::vector<std::int64_t> sizes, Device device) {
  TensorType t;
  t.dtype = dtype;
  t.strides = contiguous_strides(sizes);
  t.sizes = std::move(sizes);
  t.device = device;
  return t;
}

std::int64_t TensorType::numel() const noexcept {
  if (!defined()) return 0;
  std::int64_t n = 1;
  for (const std::int64_t s : sizes) n *= s;
  return n;
}

std::int64_t TensorType::nbytes() const noexcept {
  return numel() * itemsize(dtype);
}

bool TensorType::is_contiguous() const noexcept {
  if (numel() == 0) return true;
  std::int64_t step = 1;
  for (std::size_t i = sizes.size(); i-- > 0;) {
    if (sizes[i] == 1) continue;
    if (strides[i] != step) return false;
    step *= sizes[i];
  }
  return true;
}

std::int64_t TensorType::storage_extent() const noexcept {
  if (numel() == 0) return 0;
  std::int64_t last = offset;
  for (std::size_t i = 0; i < sizes.size(); ++i) last += (sizes[i] - 1) * strides[i];
  return (last + 1) * itemsize(dtype);
}

}  // namespace monograph::ir
