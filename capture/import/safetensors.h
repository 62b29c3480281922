// Reads and writes safetensors files. No torch: tensors are names, types, shapes and bytes.
//
// The format: 8 bytes little-endian header size N, N bytes of JSON
// {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}, then the data.
// Source: https://github.com/huggingface/safetensors (README, "Format").
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "capture/ir/types.h"

namespace monograph::importer {

/// Largest header accepted, as in the reference implementation.
inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;

/// One tensor of a file. `data` points into the mapping and is aligned to nothing in particular.
struct SafetensorsEntry {
  std::string name;
  ir::DType dtype = ir::DType::kUndefined;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data;
};

/// A validated file, mapped read-only. Cheap to copy: copies share the mapping, and every span
/// stays valid as long as one copy lives. Immutable, safe from many threads. The file must not be
/// truncated by others meanwhile (the system answers access to the lost pages with SIGBUS).
class SafetensorsFile {
 public:
  /// Maps and checks the whole header before anything is used: sizes, types, shapes and offsets
  /// must agree with each other and with the length of the file, without gaps or overlaps, and no
  /// key may appear twice. Error(kInvalidFile) names the file, the entry and the field.
  static SafetensorsFile open(const std::filesystem::path& path);

  const std::filesystem::path& path() const noexcept;
  /// Sorted by name.
  const std::vector<SafetensorsEntry>& entries() const noexcept;
  /// The entry of that name, or nullptr.
  const SafetensorsEntry* find(std::string_view name) const noexcept;
  /// The one of that name; Error(kInvalidFile) if the file doesn't hold it.
  const SafetensorsEntry& at(std::string_view name) const;
  /// The free-form strings under "__metadata__".
  const std::map<std::string, std::string>& metadata() const noexcept;

 private:
  struct Contents;
  explicit SafetensorsFile(std::shared_ptr<const Contents> contents);
  std::shared_ptr<const Contents> contents_;
};

/// Writes `entries` (any order, names unique; dense row-major data) as `path`, replacing it in one
/// step: readers see the old file or the whole new one. Same entries, same bytes: tensors are laid
/// out by falling element size, then by name, and the data begins on a multiple of 64 bytes.
/// Error(kInvalidArgument) for an entry whose data doesn't fit its type, Error(kInvalidFile) if the
/// file can't be written.
void write_safetensors(const std::filesystem::path& path, std::vector<SafetensorsEntry> entries,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace monograph::importer
