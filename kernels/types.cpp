#include "kernels/types.h"

#include <array>

namespace monograph::kernels {
namespace {

struct Info {
  std::string_view name, device;
  std::int64_t bytes;
};
constexpr std::array<Info, 10> kInfo{{{"bool", "bool", 1},
                                      {"u8", "unsigned char", 1},
                                      {"i8", "signed char", 1},
                                      {"i16", "short", 2},
                                      {"i32", "int", 4},
                                      {"i64", "long long", 8},
                                      {"f16", "mg::f16", 2},
                                      {"bf16", "mg::bf16", 2},
                                      {"f32", "float", 4},
                                      {"f64", "double", 8}}};
const Argument* find_argument(const std::vector<Argument>& args,
                              const std::vector<std::pair<std::string, Argument>>& kwargs,
                              std::size_t index, std::string_view name) noexcept {
  if (index < args.size()) return &args[index];
  for (const auto& [key, value] : kwargs) {
    if (key == name) return &value;
  }
  return nullptr;
}
const Info& info(DType dtype) noexcept {
  return kInfo[static_cast<std::size_t>(dtype)];
}

}  // namespace

std::int64_t itemsize(DType dtype) noexcept {
  return info(dtype).bytes;
}
std::string_view dtype_name(DType dtype) noexcept {
  return info(dtype).name;
}
std::string_view device_type(DType dtype) noexcept {
  return info(dtype).device;
}
bool is_half(DType dtype) noexcept {
  return dtype == DType::kF16 || dtype == DType::kBF16;
}
bool is_floating(DType dtype) noexcept {
  return is_half(dtype) || dtype == DType::kF32 || dtype == DType::kF64;
}

std::int64_t TensorDesc::numel() const noexcept {
  std::int64_t n = 1;
  for (const std::int64_t s : sizes) n *= s;
  return n;
}

std::int64_t TensorDesc::nbytes() const noexcept {
  return numel() * itemsize(dtype);
}

bool TensorDesc::is_contiguous() const noexcept {
  if (numel() == 0) return true;
  std::int64_t step = 1;
  for (std::size_t i = sizes.size(); i-- > 0;) {
    if (sizes[i] == 1) continue;
    if (strides[i] != step) return false;
    step *= sizes[i];
  }
  return true;
}

const TensorDesc* Call::input(std::size_t index) const noexcept {
  if (index >= args.size() || !args[index].is_tensor()) return nullptr;
  return &inputs[static_cast<std::size_t>(args[index].tensors.front())];
}

const Argument* Call::arg(std::size_t index, std::string_view name) const noexcept {
  return find_argument(args, kwargs, index, name);
}

const Argument* Step::arg(std::size_t index, std::string_view name) const noexcept {
  return find_argument(args, kwargs, index, name);
}

}  // namespace monograph::kernels
