// A file mapped into memory for reading.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace monograph::importer {

/// A regular file, mapped privately: nothing done to the bytes reaches the file, and pages are read
/// from it when first touched. Immovable; share it. The file must not be truncated by others
/// meanwhile (the system answers access to the lost pages with SIGBUS).
class MappedFile {
 public:
  enum class Access : std::uint8_t {
    kRead,         ///< a write faults
    kCopyOnWrite,  ///< a write, which nothing should attempt, stays in this process's memory
  };
  /// Error(kInvalidFile) naming `file` if it can't be opened or mapped, isn't a regular file or is
  /// shorter than `least` bytes.
  MappedFile(const std::string& file, std::uint64_t least, Access access = Access::kRead);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const noexcept {
    return {static_cast<const std::byte*>(address_), size_};
  }
  /// True if `part` lies in bytes().
  bool holds(std::span<const std::byte> part) const noexcept;
  /// True if the memory of `part`, which lies in bytes(), holds other bytes than the file. Reads
  /// only pages that this process wrote, as far as the system tells which ones those are.
  bool differs(std::span<const std::byte> part) const;

 private:
  bool differs_from_file(std::span<const std::byte> part) const;

  std::string name_;
  int fd_ = -1;
  void* address_ = nullptr;
  std::uint64_t size_ = 0;
};

/// Throws Error(kInvalidFile, "<file>: <what>").
[[noreturn]] void fail_file(const std::string& file, const std::string& what);

}  // namespace monograph::importer
