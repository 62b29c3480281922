// Writes ZIP archives, right or wrong in ways that tests choose.
#pragma once

#include <cstdint>
#include <fstream>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "capture/import/zip.h"

namespace monograph::testing {

class ZipWriter {
 public:
  struct Entry {
    std::string name;
    std::string data;
    std::uint16_t flags = 0;
    std::uint16_t method = 0;
    std::uint32_t attributes = 0;
    std::uint16_t disk = 0;
    bool same_header_as_first = false;
    std::optional<std::string> local_name;
    std::optional<std::uint32_t> stated_size;  ///< in both headers
    std::optional<std::uint32_t> local_size;
    std::uint64_t header = 0;  ///< set by finish
    std::optional<std::uint32_t> stated_header;
    std::uint32_t hole = 0;  ///< bytes of zeros behind the data, which take no room in the file
  };

  void add(std::string name, std::string data) {
    entries.push_back({std::move(name), std::move(data), 0, 0, 0, 0, false, {}, {}, {}, 0, {}, 0});
  }

  /// An entry of so many zeros, for archives that are written by finish(path); begins at a multiple
  /// of 64 as PyTorch's do.
  void add_hole(std::string name, std::uint32_t bytes) {
    add(std::move(name), {});
    entries.back().hole = bytes;
  }

  std::string finish() {
    out_.clear();
    holes_.clear();
    for (Entry& entry : entries) write_local(entry);
    const std::size_t directory = position();
    for (const Entry& entry : entries) write_central(entry);
    const std::size_t bytes = position() - directory;
    out_ += before_end;
    if (zip64) write_end64(directory, bytes);
    write_end(directory, bytes);
    return out_;
  }

  /// Writes the archive with its holes.
  void finish(const std::string& path) {
    (void)finish();
    std::ofstream file(path, std::ios::binary);
    std::size_t from = 0;
    for (const auto& [at, bytes] : holes_) {
      file.write(out_.data() + from, static_cast<std::streamsize>(at - from));
      file.seekp(static_cast<std::streamoff>(bytes), std::ios::cur);
      from = at;
    }
    file.write(out_.data() + from, static_cast<std::streamsize>(out_.size() - from));
    if (!file.flush()) throw std::runtime_error(path + " can't be written");
  }

  std::vector<Entry> entries;
  std::optional<std::uint16_t> stated_count;
  std::string comment;
  std::string before_end;
  std::uint32_t directory_shift = 0;
  bool zip64 = false;

 private:
  void u16(std::uint64_t v) { number(v, 2); }
  void u32(std::uint64_t v) { number(v, 4); }
  void u64(std::uint64_t v) { number(v, 8); }
  void number(std::uint64_t v, int bytes) {
    for (int i = 0; i < bytes; ++i) out_ += static_cast<char>((v >> (8 * i)) & 0xffU);
  }
  /// Where the next byte goes.
  std::size_t position() const {
    std::size_t at = out_.size();
    for (const auto& [place, bytes] : holes_) at += bytes;
    return at;
  }
  static std::uint32_t crc(const std::string& data) {
    return importer::crc32(std::as_bytes(std::span(data)));
  }

  void write_local(Entry& entry) {
    entry.header = entry.same_header_as_first ? entries.front().header : position();
    const std::string& name = entry.local_name ? *entry.local_name : entry.name;
    const std::uint64_t size =
        entry.local_size.value_or(entry.stated_size.value_or(entry.data.size() + entry.hole));
    constexpr std::size_t kHeader = 30;
    constexpr std::size_t kAlignment = 64;
    const std::size_t unaligned = (position() + kHeader + name.size()) % kAlignment;
    const std::size_t padding = entry.hole == 0 ? 0 : kAlignment + kAlignment - unaligned;
    u32(0x04034b50);
    u16(zip64 ? 45 : 10);
    u16(entry.flags);
    u16(entry.method);
    u32(0);
    u32(crc(entry.data));
    u32(size);
    u32(size);
    u16(name.size());
    u16(padding);
    out_ += name;
    if (padding != 0) {
      u16(kPaddingField);
      u16(padding - 4);
      out_ += std::string(padding - 4, 'p');
    }
    out_ += entry.data;
    if (entry.hole != 0) holes_.emplace_back(out_.size(), entry.hole);
  }

  void write_central(const Entry& entry) {
    const std::uint64_t size = entry.stated_size.value_or(entry.data.size() + entry.hole);
    u32(0x02014b50);
    u16(0);
    u16(0);
    u16(entry.flags);
    u16(entry.method);
    u32(0);
    u32(crc(entry.data));
    u32(zip64 ? 0xffffffff : size);
    u32(zip64 ? 0xffffffff : size);
    u16(entry.name.size());
    u16(zip64 ? 28 : 0);
    u16(0);
    u16(entry.disk);
    u16(0);
    u32(entry.attributes);
    u32(zip64 ? 0xffffffff : entry.stated_header.value_or(entry.header));
    out_ += entry.name;
    if (!zip64) return;
    u16(1);
    u16(24);
    u64(size);
    u64(size);
    u64(entry.header);
  }

  void write_end64(std::size_t directory, std::size_t bytes) {
    const std::size_t at = position();
    u32(0x06064b50);
    u64(44);
    u16(45);
    u16(45);
    u32(0);
    u32(0);
    u64(entries.size());
    u64(entries.size());
    u64(bytes);
    u64(directory);
    u32(0x07064b50);
    u32(0);
    u64(at);
    u32(1);
  }

  void write_end(std::size_t directory, std::size_t bytes) {
    u32(0x06054b50);
    u16(0);
    u16(0);
    u16(zip64 ? 0xffff : stated_count.value_or(static_cast<std::uint16_t>(entries.size())));
    u16(zip64 ? 0xffff : stated_count.value_or(static_cast<std::uint16_t>(entries.size())));
    u32(zip64 ? 0xffffffff : bytes);
    u32(zip64 ? 0xffffffff : directory + directory_shift);
    u16(comment.size());
    out_ += comment;
  }

  static constexpr std::uint16_t kPaddingField = 0x4246;  // what PyTorch's writer calls it

  std::string out_;
  std::vector<std::pair<std::size_t, std::size_t>> holes_;  ///< place in out_, bytes
};

}  // namespace monograph::testing
