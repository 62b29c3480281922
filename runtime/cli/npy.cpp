#include "runtime/cli/npy.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "capture/import/mapped_file.h"

namespace monograph::cli {
namespace {

using importer::fail_file;

constexpr std::size_t kPrefix = 10;  // magic, version, length of the header

at::ScalarType type_named(std::string_view name, const std::string& path) {
  constexpr std::array<std::pair<std::string_view, at::ScalarType>, 9> kTypes{{
      {"<f4", at::kFloat},
      {"<f8", at::kDouble},
      {"<f2", at::kHalf},
      {"<i8", at::kLong},
      {"<i4", at::kInt},
      {"<i2", at::kShort},
      {"|i1", at::kChar},
      {"|u1", at::kByte},
      {"|b1", at::kBool},
  }};
  for (const auto& [known, type] : kTypes) {
    if (known == name) return type;
  }
  fail_file(path, fmt::format("element type '{}' isn't read", name));
}

/// The text between `after` and `end` behind the key, without spaces around it.
std::string_view field(std::string_view header, std::string_view key, char after, char end,
                       const std::string& path) {
  const std::size_t at = header.find(key);
  const std::size_t begin = at == std::string_view::npos ? at : header.find(after, at + key.size());
  const std::size_t stop = begin == std::string_view::npos ? begin : header.find(end, begin + 1);
  if (stop == std::string_view::npos) fail_file(path, fmt::format("its header lacks {}", key));
  return header.substr(begin + 1, stop - begin - 1);
}

std::vector<std::int64_t> shape_of(std::string_view text, const std::string& path) {
  std::vector<std::int64_t> shape;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    std::string_view size = text.substr(0, comma);
    while (!size.empty() && size.front() == ' ') size.remove_prefix(1);
    text.remove_prefix(std::min(comma + 1, text.size()));
    if (size.empty()) continue;
    std::int64_t value = -1;
    const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), value);
    if (error != std::errc() || end != size.data() + size.size() || value < 0) {
      fail_file(path, "its shape is malformed");
    }
    shape.push_back(value);
  }
  return shape;
}

}  // namespace

at::Tensor read_npy(const std::string& path) {
  const importer::MappedFile file(path, kPrefix);
  const auto bytes = file.bytes();
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!all.starts_with("\x93NUMPY")) fail_file(path, "is no .npy file");
  if (all[6] != 1) fail_file(path, "only version 1.0 of the format is read");
  const std::size_t length =
      static_cast<unsigned char>(all[8]) + (std::size_t{static_cast<unsigned char>(all[9])} << 8U);
  if (length > all.size() - kPrefix) fail_file(path, "truncated: its header reaches beyond it");
  const std::string_view header = all.substr(kPrefix, length);
  const std::string_view type = field(header, "'descr':", '\'', '\'', path);
  if (header.find("'fortran_order': False") == std::string_view::npos) {
    fail_file(path, "only row-major arrays are read");
  }
  const auto shape = shape_of(field(header, "'shape':", '(', ')', path), path);
  std::int64_t wanted = static_cast<std::int64_t>(c10::elementSize(type_named(type, path)));
  for (const std::int64_t size : shape) {
    if (__builtin_mul_overflow(wanted, size, &wanted)) fail_file(path, "its shape is too large");
  }
  const std::string_view data = all.substr(kPrefix + length);
  if (static_cast<std::size_t>(wanted) != data.size()) {
    fail_file(path, fmt::format("its shape takes {} bytes, the file has {}", wanted, data.size()));
  }
  at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(type_named(type, path)));
  if (!data.empty()) std::memcpy(tensor.mutable_data_ptr(), data.data(), data.size());
  return tensor;
}

}  // namespace monograph::cli
