// The strict ZIP reader, on archives put together byte by byte.
#include "capture/import/zip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/error.h>

#include <cstring>
#include <functional>

#include "tests/import/zip_writer.h"

namespace monograph::importer {
namespace {

using ::testing::HasSubstr;
using testing::ZipWriter;

std::string refused(const std::string& bytes) {
  try {
    (void)read_zip(std::as_bytes(std::span(bytes)), "a.zip");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInvalidFile);
    return error.what();
  }
  ADD_FAILURE() << "was accepted";
  return {};
}

std::string text(const ZipEntry& entry) {
  return {reinterpret_cast<const char*>(entry.data.data()), entry.data.size()};
}

ZipWriter two_entries() {
  ZipWriter zip;
  zip.add("b/second", "data of the second");
  zip.add("a/first", "x");
  return zip;
}

TEST(Zip, ReadsEntriesByName) {
  const std::string bytes = two_entries().finish();
  const auto entries = read_zip(std::as_bytes(std::span(bytes)), "a.zip");
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(entries[0].name, "a/first");
  EXPECT_EQ(text(entries[0]), "x");
  EXPECT_EQ(text(entries[1]), "data of the second");
  EXPECT_EQ(crc32(entries[1].data), entries[1].crc32);
}

TEST(Zip, KnowsTheCheckValueOfItsCrc) {
  const std::string digits = "123456789";
  EXPECT_EQ(crc32(std::as_bytes(std::span(digits))), 0xcbf43926U);
}

TEST(Zip, ReadsZip64) {
  ZipWriter zip = two_entries();
  zip.zip64 = true;
  const std::string bytes = zip.finish();
  EXPECT_EQ(read_zip(std::as_bytes(std::span(bytes)), "a.zip").size(), 2U);
}

/// No prefix of an archive is an archive.
TEST(Zip, RefusesEveryTruncation) {
  const std::string bytes = two_entries().finish();
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_THAT(refused(bytes.substr(0, length)), HasSubstr("a.zip: ")) << length;
  }
}

struct Case {
  const char* name;
  std::function<void(ZipWriter&)> change;
  const char* says;
};

class Hostile : public ::testing::TestWithParam<Case> {};

TEST_P(Hostile, IsRefused) {
  ZipWriter zip = two_entries();
  GetParam().change(zip);
  EXPECT_THAT(refused(zip.finish()), HasSubstr(GetParam().says));
}

INSTANTIATE_TEST_SUITE_P(
    Zip, Hostile,
    ::testing::Values(
        Case{"Compressed", [](ZipWriter& z) { z.entries[0].method = 8; }, "compression method 8"},
        Case{"Encrypted", [](ZipWriter& z) { z.entries[0].flags = 1; }, "encrypted"},
        Case{"Twice", [](ZipWriter& z) { z.add("a/first", "y"); }, "two entries are called"},
        Case{"Climbs", [](ZipWriter& z) { z.add("a/../../etc/x", "y"); }, "'..' part"},
        Case{"Absolute", [](ZipWriter& z) { z.add("/etc/x", "y"); }, "absolute"},
        Case{"Drive", [](ZipWriter& z) { z.add("c:x", "y"); }, "absolute"},
        Case{"Backslash", [](ZipWriter& z) { z.add("a\\x", "y"); }, "backslash"},
        Case{"Nul", [](ZipWriter& z) { z.add(std::string("a\0b", 3), "y"); }, "control character"},
        Case{"Empty", [](ZipWriter& z) { z.add("", "y"); }, "empty name"},
        Case{"Folder", [](ZipWriter& z) { z.add("a/b/", ""); }, "folder"},
        Case{"Link", [](ZipWriter& z) { z.entries[0].attributes = 0120777U << 16U; }, "link"},
        Case{"Disk", [](ZipWriter& z) { z.entries[0].disk = 1; }, "another disk"},
        Case{"OtherName", [](ZipWriter& z) { z.entries[0].local_name = "b/secOnd"; },
             "its local header is called"},
        Case{"Overlap", [](ZipWriter& z) { z.entries[0].stated_size = 60; }, "overlaps"},
        Case{"Beyond", [](ZipWriter& z) { z.entries[1].stated_size = 1U << 30U; }, "overlaps"},
        Case{"SameHeader", [](ZipWriter& z) { z.entries[1].same_header_as_first = true; },
             "overlaps"},
        // Each of them lies before the other's end, and both far beyond the file.
        Case{"HeadersElsewhere",
             [](ZipWriter& z) {
               z.entries[0].stated_header = 0x7fff0000;
               z.entries[1].stated_header = 0x7ffffff0;
             },
             "reaches beyond the file"},
        Case{"WrongLocalSize", [](ZipWriter& z) { z.entries[0].local_size = 3; },
             "in its local header"},
        Case{"Count", [](ZipWriter& z) { z.stated_count = 3; }, "more than the directory"},
        Case{"TooFew", [](ZipWriter& z) { z.stated_count = 1; }, "the directory of 1 entries ends"},
        Case{"Comment", [](ZipWriter& z) { z.comment = "PK"; }, "end record"},
        Case{"DirectoryElsewhere", [](ZipWriter& z) { z.directory_shift = 4; },
             "must end where the end record begins"},
        Case{"Gap", [](ZipWriter& z) { z.before_end = "hidden"; },
             "must end where the end record begins"}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace monograph::importer
