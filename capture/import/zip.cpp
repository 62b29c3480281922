#include "capture/import/zip.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <type_traits>

#include "capture/import/mapped_file.h"
#include "capture/import/safetensors_header.h"

namespace monograph::importer {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

using Bytes = std::span<const std::byte>;

constexpr std::uint32_t kLocalHeader = 0x04034b50;
constexpr std::uint32_t kCentralHeader = 0x02014b50;
constexpr std::uint32_t kEnd = 0x06054b50;
constexpr std::uint32_t kEnd64 = 0x06064b50;
constexpr std::uint32_t kEnd64Locator = 0x07064b50;
constexpr std::uint64_t kLocalBytes = 30;
constexpr std::uint64_t kCentralBytes = 46;
constexpr std::uint64_t kEndBytes = 22;
constexpr std::uint64_t kEnd64Bytes = 56;
constexpr std::uint64_t kLocatorBytes = 20;
constexpr std::uint16_t kZip64Field = 0x0001;
constexpr std::uint16_t kFull16 = 0xffff;
constexpr std::uint32_t kFull32 = 0xffffffff;
constexpr std::uint16_t kDataDescriptor = 1U << 3;
constexpr std::uint16_t kUtf8 = 1U << 11;

/// Fields of a record that is known to lie within the file.
class Record {
 public:
  Record(Bytes bytes, std::uint64_t at) : at_(bytes.data() + at) {}
  template <class T>
  T get(std::size_t offset) const {
    static_assert(std::is_unsigned_v<T>);
    T value;
    std::memcpy(&value, at_ + offset, sizeof(T));
    return value;
  }
  std::uint16_t u16(std::size_t offset) const { return get<std::uint16_t>(offset); }
  std::uint32_t u32(std::size_t offset) const { return get<std::uint32_t>(offset); }
  std::uint64_t u64(std::size_t offset) const { return get<std::uint64_t>(offset); }

 private:
  const std::byte* at_;
};

/// What the central directory says about one entry.
struct Central {
  std::string name;
  std::uint16_t flags = 0;
  std::uint32_t crc = 0;
  std::uint64_t size = 0;
  std::uint64_t header = 0;  ///< where its local header begins
};

class Reader {
 public:
  Reader(Bytes bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  std::vector<ZipEntry> run() {
    find_directory();
    std::uint64_t at = directory_;
    std::vector<Central> entries;
    entries.reserve(count_);
    for (std::uint64_t i = 0; i < count_; ++i) entries.push_back(central(at));
    if (at != directory_ + directory_bytes_) {
      fail(fmt::format("the directory of {} entries ends at byte {}, {} expected", count_, at,
                       directory_ + directory_bytes_));
    }
    std::ranges::sort(entries, {}, &Central::header);
    std::vector<ZipEntry> result;
    result.reserve(entries.size());
    for (std::size_t i = 0; i < entries.size(); ++i) {
      // The neighbour may claim to lie anywhere.
      const std::uint64_t end =
          i + 1 < entries.size() ? std::min(entries[i + 1].header, directory_) : directory_;
      result.push_back(entry(entries[i], end));
    }
    std::ranges::sort(result, {}, &ZipEntry::name);
    const auto twice = std::ranges::adjacent_find(result, {}, &ZipEntry::name);
    if (twice != result.end()) fail("two entries are called " + in_quotes(twice->name));
    return result;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { fail_file(file_, what); }
  [[noreturn]] void fail(const Central& entry, const std::string& what) const {
    fail("entry " + in_quotes(entry.name) + ": " + what);
  }

  /// `length` bytes at `at`, which must lie before `end`.
  Record record(std::uint64_t at, std::uint64_t length, std::uint64_t end, const char* what) const {
    if (at > end || length > end - at) {
      fail(fmt::format("truncated: {} at byte {} reaches beyond byte {}", what, at, end));
    }
    return {bytes_, at};
  }

  /// The end record must be the last thing in the file: comments could hide a second one.
  void find_directory() {
    if (bytes_.size() < kEndBytes) fail("truncated: too short for a ZIP archive");
    const std::uint64_t at = bytes_.size() - kEndBytes;
    const Record end(bytes_, at);
    if (end.u32(0) != kEnd || end.u16(20) != 0) {
      fail("doesn't end in a ZIP end record: it is truncated, or something follows it");
    }
    if (end.u16(4) != 0 || end.u16(6) != 0) fail("spans several disks");
    if (end.u16(8) != end.u16(10)) fail("the end record contradicts itself on entries");
    count_ = end.u16(10);
    directory_bytes_ = end.u32(12);
    directory_ = end.u32(16);
    std::uint64_t limit = at;
    const bool full = count_ == kFull16 || directory_bytes_ == kFull32 || directory_ == kFull32;
    if (at >= kLocatorBytes && Record(bytes_, at - kLocatorBytes).u32(0) == kEnd64Locator) {
      limit = read_end64(at - kLocatorBytes, full);
    } else if (full) {
      fail("the end record refers to a ZIP64 record that isn't there");
    }
    if (directory_ > limit || directory_bytes_ != limit - directory_) {
      fail(fmt::format("the directory, {} bytes at {}, must end where the end record begins, at {}",
                       directory_bytes_, directory_, limit));
    }
    if (count_ > kMaxZipEntries || count_ > directory_bytes_ / kCentralBytes) {
      fail(fmt::format("{} entries are more than {}", count_,
                       count_ > kMaxZipEntries ? "allowed" : "the directory can hold"));
    }
  }

  std::uint64_t read_end64(std::uint64_t locator_at, bool full) {
    const Record locator(bytes_, locator_at);
    const std::uint64_t at = locator.u64(8);
    if (locator.u32(4) != 0 || locator.u32(16) > 1) fail("spans several disks");
    if (at > locator_at || locator_at - at != kEnd64Bytes) {
      fail("the ZIP64 end record must stand right before its locator");
    }
    const Record end(bytes_, at);
    if (end.u32(0) != kEnd64 || end.u64(4) != kEnd64Bytes - 12) {
      fail("the ZIP64 end record is malformed");
    }
    if (end.u32(16) != 0 || end.u32(20) != 0) fail("spans several disks");
    const std::array<std::uint64_t, 3> here{end.u64(32), end.u64(40), end.u64(48)};
    if (end.u64(24) != here[0]) fail("the ZIP64 end record contradicts itself on entries");
    const bool agrees = (count_ == kFull16 || count_ == here[0]) &&
                        (directory_bytes_ == kFull32 || directory_bytes_ == here[1]) &&
                        (directory_ == kFull32 || directory_ == here[2]);
    if (!full && !agrees) fail("the two end records contradict each other");
    if (full && !agrees) fail("the two end records contradict each other");
    count_ = here[0];
    directory_bytes_ = here[1];
    directory_ = here[2];
    return at;
  }

  Central central(std::uint64_t& at) const {
    const std::uint64_t end = directory_ + directory_bytes_;
    const Record r = record(at, kCentralBytes, end, "a directory entry");
    if (r.u32(0) != kCentralHeader) {
      fail(fmt::format("no directory entry at byte {}, where one should be", at));
    }
    const std::uint64_t name = r.u16(28);
    const std::uint64_t extra = r.u16(30);
    (void)record(at, kCentralBytes + name + extra, end, "a directory entry");
    Central c;
    c.name.assign(reinterpret_cast<const char*>(bytes_.data() + at + kCentralBytes), name);
    c.flags = r.u16(8);
    c.crc = r.u32(16);
    c.size = r.u32(24);
    c.header = r.u32(42);
    std::uint64_t packed = r.u32(20);
    const auto fields = bytes_.subspan(at + kCentralBytes + name, extra);
    read_zip64(c, packed, fields);
    check_name(c);
    check_kind(c, r, packed);
    at += kCentralBytes + name + extra;
    return c;
  }

  /// ZIP64 values replace those that are all ones, in this order.
  void read_zip64(Central& c, std::uint64_t& packed, Bytes fields) const {
    const auto field = extra_field(c, fields);
    std::size_t used = 0;
    const auto replace = [&](std::uint64_t& value) {
      if (value != kFull32) return;
      if (!field || field->size() < used + 8) fail(c, "its ZIP64 field is missing or too short");
      value = Record(*field, used).u64(0);
      used += 8;
    };
    replace(c.size);
    replace(packed);
    replace(c.header);
  }

  /// The ZIP64 extra field; checks that the fields fill their space.
  std::optional<Bytes> extra_field(const Central& c, Bytes fields) const {
    std::optional<Bytes> found;
    while (!fields.empty()) {
      if (fields.size() < 4) fail(c, "its extra fields are malformed");
      const Record r(fields, 0);
      const std::uint64_t length = r.u16(2);
      if (length > fields.size() - 4) fail(c, "its extra fields are malformed");
      if (r.u16(0) == kZip64Field) {
        if (found) fail(c, "two ZIP64 fields");
        found = fields.subspan(4, length);
      }
      fields = fields.subspan(4 + length);
    }
    return found;
  }

  void check_name(const Central& c) const {
    const std::string_view name = c.name;
    if (name.empty()) fail("an entry has an empty name");
    const bool bad = std::ranges::any_of(name, [](char ch) {
      const auto byte = static_cast<unsigned char>(ch);
      return byte < 0x20 || byte == 0x7f || ch == '\\';
    });
    if (bad) fail(c, "its name holds a backslash or control character");
    if (name.front() == '/' || (name.size() > 1 && name[1] == ':')) {
      fail(c, "its name is absolute");
    }
    if (name.back() == '/') fail(c, "is a folder; only files are accepted");
    std::string_view rest = name;
    while (!rest.empty()) {
      const std::size_t slash = std::min(rest.find('/'), rest.size());
      const std::string_view part = rest.substr(0, slash);
      if (part.empty() || part == "." || part == "..") {
        fail(c, "its name has an empty, '.' or '..' part");
      }
      rest.remove_prefix(std::min(slash + 1, rest.size()));
    }
  }

  void check_kind(const Central& c, const Record& r, std::uint64_t packed) const {
    constexpr std::uint32_t kUnixKind = 0170000;
    constexpr std::uint32_t kUnixFile = 0100000;
    if ((c.flags & ~(kDataDescriptor | kUtf8)) != 0) {
      fail(c, fmt::format("flags {:#06x}: encrypted or of an unknown kind", c.flags));
    }
    if (r.u16(10) != 0) {
      fail(c, fmt::format("compression method {}; only stored entries are read", r.u16(10)));
    }
    if (packed != c.size) {
      fail(c, fmt::format("stored size {} differs from size {}", packed, c.size));
    }
    if (r.u16(32) != 0) fail(c, "has a comment");
    if (r.u16(34) != 0) fail(c, "lies on another disk");
    const std::uint32_t kind = (r.u32(38) >> 16U) & kUnixKind;
    if (kind != 0 && kind != kUnixFile) fail(c, "is a link or another special file");
  }

  /// Finds the data behind the local header; all of it must end before `end`.
  ZipEntry entry(const Central& c, std::uint64_t end) const {
    if (c.header > end || end - c.header < kLocalBytes) {
      fail(c, "overlaps its neighbour or reaches beyond the file");
    }
    const Record r(bytes_, c.header);
    if (r.u32(0) != kLocalHeader) fail(c, "there is no local header where the directory says");
    const std::uint64_t name = r.u16(26);
    const std::uint64_t begin = c.header + kLocalBytes + name + r.u16(28);
    if (begin > end || c.size > end - begin) {
      fail(c, "overlaps its neighbour or reaches beyond the file");
    }
    const std::string_view local(
        reinterpret_cast<const char*>(bytes_.data() + c.header + kLocalBytes), name);
    if (local != c.name) fail(c, "its local header is called " + in_quotes(local));
    if (r.u16(6) != c.flags || r.u16(8) != 0) {
      fail(c, "flags or method of its local header differ from the directory");
    }
    const bool later = (c.flags & kDataDescriptor) != 0;
    check_stated(c, later, r.u32(14), c.crc, "CRC");
    check_stated(c, later, r.u32(18), c.size, "size");
    check_stated(c, later, r.u32(22), c.size, "size");
    return {c.name, bytes_.subspan(begin, c.size), c.crc};
  }

  /// A local header may leave values to the descriptor behind the data, or to a ZIP64 field; what
  /// it does state must agree.
  void check_stated(const Central& c, bool later, std::uint32_t stated, std::uint64_t known,
                    const char* what) const {
    if (stated == known || (later && stated == 0) || (stated == kFull32 && known >= kFull32)) {
      return;
    }
    fail(c, fmt::format("{} {} in its local header, {} in the directory", what, stated, known));
  }

  Bytes bytes_;
  const std::string& file_;
  std::uint64_t directory_ = 0;
  std::uint64_t directory_bytes_ = 0;
  std::uint64_t count_ = 0;
};

constexpr std::array<std::uint32_t, 256> crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    std::uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c & 1U) != 0 ? 0xedb88320U ^ (c >> 1U) : c >> 1U;
    table[i] = c;
  }
  return table;
}

}  // namespace

std::vector<ZipEntry> read_zip(std::span<const std::byte> bytes, const std::string& file) {
  return Reader(bytes, file).run();
}

std::uint32_t crc32(std::span<const std::byte> data) noexcept {
  static constexpr auto kTable = crc_table();
  std::uint32_t c = kFull32;
  for (const std::byte b : data) {
    c = kTable[(c ^ static_cast<std::uint32_t>(b)) & 0xffU] ^ (c >> 8U);
  }
  return ~c;
}

}  // namespace monograph::importer
