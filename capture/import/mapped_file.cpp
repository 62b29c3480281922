#include "capture/import/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <monograph/error.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <system_error>
#include <utility>
#include <vector>

namespace monograph::importer {
namespace {

std::string errno_text() {
  return std::system_category().message(errno);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// What the system says about pages of this process's memory, from `first` on; empty if it doesn't.
/// One word a page: see "pagemap" in the kernel's documentation.
std::vector<std::uint64_t> page_words(std::uintptr_t first, std::size_t count) {
  const Descriptor fd(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return {};
  std::vector<std::uint64_t> words(count);
  const std::size_t bytes = count * sizeof(std::uint64_t);
  const auto at = static_cast<off_t>(first * sizeof(std::uint64_t));
  const bool whole = ::pread(fd.get(), words.data(), bytes, at) == static_cast<ssize_t>(bytes);
  return whole ? words : std::vector<std::uint64_t>();
}

/// A page of a private mapping that was written is no longer the file's: it is anonymous memory,
/// present or swapped out.
bool may_be_written(std::uint64_t word) {
  constexpr std::uint64_t kOfFile = 1ULL << 61U;
  constexpr std::uint64_t kSwapped = 1ULL << 62U;
  constexpr std::uint64_t kPresent = 1ULL << 63U;
  return (word & kSwapped) != 0 || (word & (kPresent | kOfFile)) == kPresent;
}

}  // namespace

void fail_file(const std::string& file, const std::string& what) {
  throw Error(Code::kInvalidFile, file + ": " + what);
}

MappedFile::MappedFile(const std::string& file, std::uint64_t least, Access access) : name_(file) {
  // O_NONBLOCK: opening a FIFO must fail below rather than wait for a writer.
  Descriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) fail_file(file, "can't be opened: " + errno_text());
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) fail_file(file, "can't be examined: " + errno_text());
  if (!S_ISREG(info.st_mode)) fail_file(file, "is not a regular file");
  size_ = static_cast<std::uint64_t>(info.st_size);
  if (size_ < least || size_ == 0) {
    fail_file(file, fmt::format("truncated: {} bytes, at least {} expected", size_, least));
  }
  const int protection = access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  const int flags = MAP_PRIVATE | (access == Access::kRead ? 0 : MAP_NORESERVE);
  void* address = ::mmap(nullptr, size_, protection, flags, fd.get(), 0);
  if (address == MAP_FAILED) fail_file(file, "can't be mapped: " + errno_text());
  address_ = address;
  fd_ = fd.release();
}

MappedFile::~MappedFile() {
  ::munmap(address_, size_);
  ::close(fd_);
}

bool MappedFile::holds(std::span<const std::byte> part) const noexcept {
  const std::span<const std::byte> all = bytes();
  const std::less_equal<> before;
  return before(all.data(), part.data()) &&
         before(part.data() + part.size(), all.data() + all.size());
}

bool MappedFile::differs_from_file(std::span<const std::byte> part) const {
  std::vector<std::byte> known(std::min<std::size_t>(part.size(), std::size_t{1} << 20U));
  while (!part.empty()) {
    const std::size_t size = std::min(part.size(), known.size());
    const auto at = static_cast<off_t>(part.data() - bytes().data());
    if (::pread(fd_, known.data(), size, at) != static_cast<ssize_t>(size)) {
      fail_file(name_, "can't be read: " + errno_text());
    }
    if (std::memcmp(known.data(), part.data(), size) != 0) return true;
    part = part.subspan(size);
  }
  return false;
}

bool MappedFile::differs(std::span<const std::byte> part) const {
  if (part.empty()) return false;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(part.data());
  const std::uintptr_t first = begin / page;
  const auto words = page_words(first, (begin + part.size() - 1) / page - first + 1);
  if (words.empty()) return differs_from_file(part);
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!may_be_written(words[i])) continue;
    const std::uintptr_t from = std::max(begin, (first + i) * page);
    const std::uintptr_t to = std::min(begin + part.size(), (first + i + 1) * page);
    if (differs_from_file(part.subspan(from - begin, to - from))) return true;
  }
  return false;
}

}  // namespace monograph::importer
