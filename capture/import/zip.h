// Reads stored (uncompressed) ZIP archives in place and strictly. No torch.
//
// The format: APPNOTE.TXT of PKWARE, versions 1.0 to 4.5 (ZIP64), of which the entries that
// PyTorch's writer makes need a small part: stored data, sizes in the central directory, data
// descriptors behind the data, padding in a private extra field.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace monograph::importer {

/// Most entries accepted.
inline constexpr std::uint64_t kMaxZipEntries = 1U << 20;

struct ZipEntry {
  std::string name;
  std::span<const std::byte> data;  ///< into the bytes that were given
  std::uint32_t crc32 = 0;          ///< as the directory states it; not computed
};

/// Entries of the archive in `bytes`, sorted by name. `file` names it in messages. Refused with
/// Error(kInvalidFile) naming entry and field: anything compressed or encrypted, links and folders,
/// names that are absolute, climb up ("..") or hold backslashes or control characters, two entries
/// of one name, entries that overlap each other or the directory, local headers that contradict
/// the directory, several disks, bytes behind the end, more than kMaxZipEntries entries.
/// Memory grows with the directory, which lies within the file; no data is touched.
std::vector<ZipEntry> read_zip(std::span<const std::byte> bytes, const std::string& file);

/// CRC-32 (ISO 3309), for small entries that are worth checking.
std::uint32_t crc32(std::span<const std::byte> data) noexcept;

}  // namespace monograph::importer
