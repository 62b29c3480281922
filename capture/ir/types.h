// Element types, devices and tensor types of the IR. No torch, no CUDA.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace monograph::ir {

/// Element type. Spelt "f32" in graph text and "torch.float32" in Python.
enum class DType : std::uint8_t {
  kUndefined,  ///< an undefined tensor (optional result that was not produced)
  kBool,
  kU8,
  kI8,
  kI16,
  kI32,
  kI64,
  kF16,
  kBF16,
  kF32,
  kF64,
  kC64,
  kC128,
  kF8E4M3FN,
  kF8E5M2,
};

/// Bytes per element; 0 for kUndefined.
std::int64_t itemsize(DType dtype) noexcept;
/// "f32"; "undefined" for kUndefined.
std::string_view dtype_name(DType dtype) noexcept;
/// "torch.float32".
std::string_view python_dtype_name(DType dtype) noexcept;
std::optional<DType> dtype_from_name(std::string_view name) noexcept;
std::optional<DType> dtype_from_python_name(std::string_view name) noexcept;
bool is_floating(DType dtype) noexcept;  ///< f16, bf16, f32, f64 and the 8-bit floats
bool is_integral(DType dtype) noexcept;  ///< integers, not bool

enum class DeviceType : std::uint8_t { kCpu, kCuda, kMeta };

/// Device of a tensor. `index` is -1 when not given. Text: `device(type='cuda', index=0)`.
struct Device {
  DeviceType type = DeviceType::kCpu;
  std::int32_t index = -1;
  bool operator==(const Device&) const = default;
};
std::string to_string(const Device& device);

enum class Layout : std::uint8_t { kStrided, kSparse, kOther };
std::string_view layout_name(Layout layout) noexcept;  ///< "torch.strided"

enum class MemoryFormat : std::uint8_t { kContiguous, kPreserve, kChannelsLast, kChannelsLast3d };
std::string_view memory_format_name(MemoryFormat format) noexcept;  ///< "torch.contiguous_format"

/// Shape and placement of one tensor. Sizes and strides in elements; `offset` is the storage
/// offset in elements. Value type.
struct TensorType {
  DType dtype = DType::kUndefined;
  std::vector<std::int64_t> sizes;
  std::vector<std::int64_t> strides;
  std::int64_t offset = 0;
  Device device;

  /// Row-major tensor on `device`, offset 0.
  static TensorType contiguous(DType dtype, std::vector<std::int64_t> sizes, Device device = {});

  bool defined() const noexcept { return dtype != DType::kUndefined; }
  std::int64_t rank() const noexcept { return static_cast<std::int64_t>(sizes.size()); }
  std::int64_t numel() const noexcept;
  /// Bytes of the elements themselves, numel * itemsize.
  std::int64_t nbytes() const noexcept;
  /// Row-major in the sense of torch: strides of size-1 dimensions don't matter; empty tensors are.
  bool is_contiguous() const noexcept;
  /// Bytes from the start of the storage to the end of the last element; 0 if empty.
  std::int64_t storage_extent() const noexcept;
  bool operator==(const TensorType&) const = default;
};

/// Row-major strides for `sizes`, computed as torch does (size-0 dimensions count as 1).
std::vector<std::int64_t> contiguous_strides(const std::vector<std::int64_t>& sizes);

}  // namespace monograph::ir
