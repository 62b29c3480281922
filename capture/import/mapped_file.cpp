#include "capture/import/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <monograph/error.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

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

 private:
  int fd_;
};

}  // namespace

void fail_file(const std::string& file, const std::string& what) {
  throw Error(Code::kInvalidFile, file + ": " + what);
}

MappedFile::MappedFile(const std::string& file, std::uint64_t least, Access access) {
  // O_NONBLOCK: opening a FIFO must fail below rather than wait for a writer.
  const Descriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
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
}

MappedFile::~MappedFile() {
  if (address_ != nullptr) ::munmap(address_, size_);
}

}  // namespace monograph::importer
