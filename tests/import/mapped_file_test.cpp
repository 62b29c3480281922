// Mapped files: what was written to their memory is found, wherever it lies.
#include "capture/import/mapped_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

namespace monograph::importer {
namespace {

constexpr std::size_t kBytes = (std::size_t{3} << 20) + 123;

class File {
 public:
  File() : path_(::testing::TempDir() + "/mapped_" + std::to_string(::getpid())) {
    std::string text(kBytes, 'a');
    for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i * 7 % 26);
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~File() { ::unlink(path_.c_str()); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::byte* writable(const MappedFile& file, std::size_t at) {
  return const_cast<std::byte*>(file.bytes().data()) + at;  // NOLINT(*-const-cast)
}

TEST(MappedFile, FindsWhatWasWritten) {
  const File file;
  for (const std::size_t at :
       {std::size_t{0}, std::size_t{4095}, std::size_t{4096}, kBytes / 2, kBytes - 1}) {
    const MappedFile mapped(file.path(), 1, MappedFile::Access::kCopyOnWrite);
    EXPECT_FALSE(mapped.differs(mapped.bytes()));
    *writable(mapped, at) = std::byte{1};
    EXPECT_TRUE(mapped.differs(mapped.bytes())) << at;
    EXPECT_TRUE(mapped.differs(mapped.bytes().subspan(at, 1))) << at;
    // Not beside it, even in the same page.
    EXPECT_FALSE(mapped.differs(mapped.bytes().first(at))) << at;
    EXPECT_FALSE(mapped.differs(mapped.bytes().subspan(at + 1))) << at;
  }
}

TEST(MappedFile, ComparesBytesNotPages) {
  const File file;
  const MappedFile mapped(file.path(), 1, MappedFile::Access::kCopyOnWrite);
  const std::byte before = *writable(mapped, 5000);
  *writable(mapped, 5000) = std::byte{1};
  *writable(mapped, 5000) = before;
  EXPECT_FALSE(mapped.differs(mapped.bytes()));
}

TEST(MappedFile, ReadingChangesNothing) {
  const File file;
  const MappedFile mapped(file.path(), 1);
  std::size_t sum = 0;
  for (const std::byte b : mapped.bytes()) sum += static_cast<std::size_t>(b);
  EXPECT_GT(sum, 0U);
  EXPECT_FALSE(mapped.differs(mapped.bytes()));
}

TEST(MappedFile, KnowsWhatItHolds) {
  const File file;
  const MappedFile mapped(file.path(), 1);
  const std::string other(16, 'x');
  EXPECT_TRUE(mapped.holds(mapped.bytes()));
  EXPECT_TRUE(mapped.holds(mapped.bytes().subspan(10, 20)));
  EXPECT_FALSE(mapped.holds({mapped.bytes().data() + 1, mapped.bytes().size()}));
  EXPECT_FALSE(mapped.holds(std::as_bytes(std::span(other))));
}

}  // namespace
}  // namespace monograph::importer
