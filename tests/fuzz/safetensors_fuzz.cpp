#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>
#include <string>

#include "capture/import/safetensors.h"
#include "tests/fuzz/target.h"

namespace {

/// A file in memory, opened anew for each input: what is read is a mapping of a file.
class MemoryFile {
 public:
  MemoryFile(const std::uint8_t* data, std::size_t size) : fd_(::memfd_create("fuzz", 0)) {
    if (fd_ < 0 || ::write(fd_, data, size) != static_cast<ssize_t>(size)) {
      throw std::runtime_error("no memory file");
    }
  }
  ~MemoryFile() { ::close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const MemoryFile memory(data, size);
  monograph::fuzz::expect_errors_only([&] {
    const auto file = monograph::importer::SafetensorsFile::open(memory.path());
    std::size_t sum = 0;
    for (const auto& entry : file.entries()) {
      for (const std::byte b : entry.data) sum += static_cast<std::size_t>(b);
    }
    if (sum > size * 255) throw std::logic_error("more data than the file has");
  });
  return 0;
}
