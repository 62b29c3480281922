#include "capture/import/safetensors.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <monograph/error.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>
#include <tuple>
#include <utility>

#include "capture/import/safetensors_header.h"

namespace monograph::importer {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr std::uint64_t kSizeBytes = 8;

[[noreturn]] void fail(const std::string& file, const std::string& what) {
  throw Error(Code::kInvalidFile, file + ": " + what);
}

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

// A file mapped read-only for as long as the object lives.
class Mapping {
 public:
  explicit Mapping(const std::string& file) {
    // O_NONBLOCK: opening a FIFO must fail below rather than wait for a writer.
    const Descriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (fd.get() < 0) fail(file, "can't be opened: " + errno_text());
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) fail(file, "can't be examined: " + errno_text());
    if (!S_ISREG(info.st_mode)) fail(file, "is not a regular file");
    size_ = static_cast<std::uint64_t>(info.st_size);
    if (size_ < kSizeBytes) {
      fail(file, fmt::format("truncated: {} bytes, the header size alone takes 8", size_));
    }
    address_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (address_ == MAP_FAILED) {
      address_ = nullptr;
      fail(file, "can't be mapped: " + errno_text());
    }
  }
  ~Mapping() {
    if (address_ != nullptr) ::munmap(address_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::span<const std::byte> bytes() const {
    return {static_cast<const std::byte*>(address_), size_};
  }

 private:
  void* address_ = nullptr;
  std::uint64_t size_ = 0;
};

std::string_view header_text(std::span<const std::byte> bytes, const std::string& file) {
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kSizeBytes);
  if (length > kMaxSafetensorsHeader) {
    fail(file, fmt::format("the header claims {} bytes, more than the {} allowed", length,
                           kMaxSafetensorsHeader));
  }
  if (length > bytes.size() - kSizeBytes) {
    fail(file, fmt::format("truncated: the header claims {} bytes, the file has {} after its size",
                           length, bytes.size() - kSizeBytes));
  }
  const auto text = bytes.subspan(kSizeBytes, length);
  // The format asks for '{' first, so that nothing else can pose as a safetensors file.
  if (text.empty() || text.front() != std::byte{'{'}) {
    fail(file, "the header must begin with '{'");
  }
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

// Bytes of a dense tensor, or nothing if they don't fit 63 bits.
std::optional<std::uint64_t> dense_bytes(ir::DType dtype, const std::vector<std::int64_t>& shape) {
  std::int64_t bytes = ir::itemsize(dtype);
  bool empty = false;
  bool overflow = false;
  for (const std::int64_t size : shape) {
    if (size < 0) return std::nullopt;
    empty = empty || size == 0;
    overflow = overflow || __builtin_mul_overflow(bytes, size, &bytes);
  }
  if (empty) return 0;
  if (overflow) return std::nullopt;
  return static_cast<std::uint64_t>(bytes);
}

void check_entry(const HeaderEntry& entry, std::uint64_t data_bytes, const std::string& file) {
  const std::string who = "tensor " + in_quotes(entry.name) + ": ";
  if (entry.end < entry.begin) {
    fail(file, who + fmt::format("\"data_offsets\": end {} lies before begin {}", entry.end,
                                 entry.begin));
  }
  if (entry.end > data_bytes) {
    fail(file, who + fmt::format("\"data_offsets\": [{}, {}] reaches beyond the data, which has {} "
                                 "bytes",
                                 entry.begin, entry.end, data_bytes));
  }
  const auto wanted = dense_bytes(entry.dtype, entry.shape);
  if (!wanted) fail(file, who + "\"shape\": more elements than can be addressed");
  if (*wanted != entry.end - entry.begin) {
    fail(file, who + fmt::format("\"shape\" [{}] of {} takes {} bytes, \"data_offsets\" hold {}",
                                 fmt::join(entry.shape, ", "), safetensors_dtype_name(entry.dtype),
                                 *wanted, entry.end - entry.begin));
  }
}

// Every byte of the data must belong to exactly one tensor.
void check_coverage(const std::vector<HeaderEntry>& entries, std::uint64_t data_bytes,
                    const std::string& file) {
  std::vector<const HeaderEntry*> order;
  order.reserve(entries.size());
  for (const HeaderEntry& entry : entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const HeaderEntry* a, const HeaderEntry* b) {
    return std::tie(a->begin, a->end, a->name) < std::tie(b->begin, b->end, b->name);
  });
  std::uint64_t reached = 0;
  for (const HeaderEntry* entry : order) {
    if (entry->begin != reached) {
      fail(file,
           fmt::format("tensor {}: \"data_offsets\": begins at byte {}, {} the end of its "
                       "predecessor at {}",
                       in_quotes(entry->name), entry->begin,
                       entry->begin < reached ? "overlapping" : "leaving a gap after", reached));
    }
    reached = entry->end;
  }
  if (reached != data_bytes) {
    fail(file, fmt::format("the tensors end at byte {} of the data, which has {} bytes", reached,
                           data_bytes));
  }
}

}  // namespace

struct SafetensorsFile::Contents {
  explicit Contents(const std::filesystem::path& file) : path(file), mapping(file.string()) {}

  std::filesystem::path path;
  Mapping mapping;
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
};

SafetensorsFile::SafetensorsFile(std::shared_ptr<const Contents> contents)
    : contents_(std::move(contents)) {}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  const std::string file = path.string();
  auto contents = std::make_shared<Contents>(path);
  const auto bytes = contents->mapping.bytes();
  const std::string_view text = header_text(bytes, file);
  const auto data = bytes.subspan(kSizeBytes + text.size());
  Header header = parse_safetensors_header(text, file);
  for (const HeaderEntry& entry : header.entries) check_entry(entry, data.size(), file);
  check_coverage(header.entries, data.size(), file);
  contents->entries.reserve(header.entries.size());
  for (HeaderEntry& entry : header.entries) {
    contents->entries.push_back({std::move(entry.name), entry.dtype, std::move(entry.shape),
                                 data.subspan(entry.begin, entry.end - entry.begin)});
  }
  std::sort(contents->entries.begin(), contents->entries.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  contents->metadata = std::move(header.metadata);
  return SafetensorsFile(std::move(contents));
}

const std::filesystem::path& SafetensorsFile::path() const noexcept {
  return contents_->path;
}

const std::vector<SafetensorsEntry>& SafetensorsFile::entries() const noexcept {
  return contents_->entries;
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const noexcept {
  const auto& all = contents_->entries;
  const auto it = std::lower_bound(all.begin(), all.end(), name,
                                   [](const auto& entry, auto key) { return entry.name < key; });
  return it != all.end() && it->name == name ? &*it : nullptr;
}

const SafetensorsEntry& SafetensorsFile::at(std::string_view name) const {
  const SafetensorsEntry* entry = find(name);
  if (entry == nullptr) fail(contents_->path.string(), "holds no tensor " + in_quotes(name));
  return *entry;
}

const std::map<std::string, std::string>& SafetensorsFile::metadata() const noexcept {
  return contents_->metadata;
}

}  // namespace monograph::importer
