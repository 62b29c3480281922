// What a kernel is asked to compute, in plain terms: no torch, no IR, no CUDA.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace monograph::kernels {

enum class DType : std::uint8_t { kBool, kU8, kI8, kI16, kI32, kI64, kF16, kBF16, kF32, kF64 };
std::int64_t itemsize(DType dtype) noexcept;
/// "f32"; also the spelling of the dtype constants handed to kernel sources (MG_F32, ...).
std::string_view dtype_name(DType dtype) noexcept;
/// C++ type of one element in kernel source: "float", "mg::bf16", "long long", ...
std::string_view device_type(DType dtype) noexcept;
bool is_half(DType dtype) noexcept;      ///< f16 or bf16
bool is_floating(DType dtype) noexcept;  ///< f16, bf16, f32, f64

/// A tensor operand. Sizes and strides in elements, as torch counts them.
struct TensorDesc {
  DType dtype = DType::kF32;
  std::vector<std::int64_t> sizes;
  std::vector<std::int64_t> strides;
  /// The address of the first element is a multiple of this many bytes (a power of two).
  std::int64_t alignment = 1;
  /// No launch of the program writes it (parameters, buffers, constants): kernels may read it
  /// before the launches they depend on have finished.
  bool constant = false;
  /// State that this launch writes and no other of the program: what it doesn't write itself may be
  /// read before the launches it depends on have finished.
  bool own = false;

  std::int64_t numel() const noexcept;
  std::int64_t nbytes() const noexcept;
  bool is_contiguous() const noexcept;  ///< row-major; strides of size-1 dimensions don't matter
  bool operator==(const TensorDesc&) const = default;
};

using Scalar = std::variant<std::monostate, bool, std::int64_t, double, std::string,
                            std::vector<std::int64_t>, DType>;

/// One argument: a tensor (index into Call::inputs), a list of tensors, or a plain value.
struct Argument {
  std::vector<std::int32_t> tensors;  ///< one entry for a tensor, several for a list of tensors
  bool is_tensor_list = false;
  Scalar scalar;
  bool is_tensor() const noexcept { return tensors.size() == 1 && !is_tensor_list; }
};

struct Body;

/// An operator applied to operands: what a definition matches on.
struct Call {
  std::string op;                                        ///< "aten.add.Tensor", or "fusion"
  std::vector<Argument> args;                            ///< positional
  std::vector<std::pair<std::string, Argument>> kwargs;  ///< by name
  std::vector<TensorDesc> inputs;
  std::vector<TensorDesc> outputs;
  /// What a fusion computes; null for every other operator. `args` of a fusion are its inputs in
  /// order.
  std::shared_ptr<const Body> body;

  const TensorDesc* input(std::size_t arg) const noexcept;  ///< tensor at positional arg, or null
  const Argument* arg(std::size_t index, std::string_view name) const noexcept;
};

/// One operator of a fusion. Tensor indices in its arguments name values of the body: first the
/// call's inputs, then the results of the steps before it, in order.
struct Step {
  std::string op;
  std::vector<Argument> args;
  std::vector<std::pair<std::string, Argument>> kwargs;
  TensorDesc output;
  /// The value whose memory the result is a view of, or -1 for a result of its own. For a view of
  /// an input (or a view of such a view), `offset` is where it starts, in elements from the
  /// input's first one, and `output.strides` are strides in the input's memory.
  std::int32_t alias = -1;
  std::int64_t offset = 0;

  const Argument* arg(std::size_t index, std::string_view name) const noexcept;
};

/// A fusion's operators in order, and which values are its results.
struct Body {
  std::vector<Step> steps;
  std::vector<std::int32_t> outputs;  ///< value of each of Call::outputs
};

/// The device a kernel is specialised for. `arch` is "sm_90", or "virtual" for the emulator.
struct Target {
  std::string arch = "sm_90";
  int multiprocessors = 132;
  std::int64_t shared_per_block = 232448;  ///< opt-in limit in bytes
  std::int64_t shared_per_multiprocessor = 233472;
  std::int64_t l2_bytes = 50 << 20;
  double read_bytes_per_us = 3.08e6;  ///< streaming read ceiling, for predictions
  double boundary_us = 0.95;          ///< cost of a graph node boundary
  double programmatic_boundary_us = 0.62;
  bool has_programmatic_launch = true;
};

}  // namespace monograph::kernels
