#include "capture/import/safetensors.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/error.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <sstream>

namespace monograph::importer {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class SafetensorsTest : public ::testing::Test {
 protected:
  SafetensorsTest()
      : directory_(std::filesystem::path(::testing::TempDir()) /
                   fmt::format("safetensors_{}_{}", ::getpid(),
                               ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::create_directories(directory_);
  }
  ~SafetensorsTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  std::filesystem::path path(const std::string& name = "t.safetensors") const {
    return directory_ / name;
  }

  // A file made of a header of the claimed length and `data_bytes` of data.
  std::filesystem::path make(const std::string& header, std::size_t data_bytes,
                             std::optional<std::uint64_t> claimed = {}) const {
    const std::uint64_t length = claimed.value_or(header.size());
    std::ofstream out(path(), std::ios::binary);
    out.write(reinterpret_cast<const char*>(&length), sizeof length);
    out << header << std::string(data_bytes, '\x5a');
    return path();
  }

  // The message with which a file of this header and data is refused; empty if it is accepted.
  std::string refusal(const std::string& header, std::size_t data_bytes,
                      std::optional<std::uint64_t> claimed = {}) const {
    return refusal_of(make(header, data_bytes, claimed));
  }

  static std::string refusal_of(const std::filesystem::path& file) {
    try {
      SafetensorsFile::open(file);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kInvalidFile);
      EXPECT_THAT(error.message(), HasSubstr(file.string()));
      return error.message();
    }
    return {};
  }

  std::filesystem::path directory_;
};

constexpr const char* kGood = R"({"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                              R"("i":{"dtype":"I64","shape":[],"data_offsets":[24,32]}})";

TEST_F(SafetensorsTest, ReadsEntriesSortedByNameWithTheirBytes) {
  const auto file = SafetensorsFile::open(make(kGood, 32));
  ASSERT_EQ(file.entries().size(), 2u);
  EXPECT_EQ(file.entries()[0].name, "i");
  EXPECT_EQ(file.entries()[0].dtype, ir::DType::kI64);
  EXPECT_THAT(file.entries()[0].shape, IsEmpty());
  EXPECT_EQ(file.entries()[0].data.size(), 8u);
  EXPECT_EQ(file.entries()[1].name, "w");
  EXPECT_THAT(file.entries()[1].shape, ElementsAre(2, 3));
  EXPECT_EQ(file.at("w").data.size(), 24u);
  EXPECT_EQ(file.at("w").data[0], std::byte{0x5a});
  EXPECT_EQ(file.find("absent"), nullptr);
  EXPECT_THROW(file.at("absent"), Error);
  EXPECT_THAT(file.metadata(), IsEmpty());
}

TEST_F(SafetensorsTest, ReadsMetadataAndPaddedHeader) {
  const auto file = SafetensorsFile::open(
      make(R"({"__metadata__":{"format":"pt"},"e":{"dtype":"F16","shape":[0,7],)"
           R"("data_offsets":[0,0]}}      )",
           0));
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_THAT(file.at("e").shape, ElementsAre(0, 7));
  EXPECT_THAT(file.at("e").data, IsEmpty());
}

TEST_F(SafetensorsTest, AcceptsAFileWithoutTensors) {
  EXPECT_THAT(SafetensorsFile::open(make("{}", 0)).entries(), IsEmpty());
}

TEST_F(SafetensorsTest, SpansOutliveTheFileObjectTheyWereCopiedFrom) {
  auto first = SafetensorsFile::open(make(kGood, 32));
  const auto data = first.at("w").data;
  const SafetensorsFile copy = first;
  std::filesystem::remove(path());
  first = SafetensorsFile::open(make("{}", 0));
  EXPECT_EQ(data.back(), std::byte{0x5a});
  EXPECT_EQ(copy.at("w").data.data(), data.data());
}

TEST_F(SafetensorsTest, RefusesWhatIsNotARegularFile) {
  EXPECT_THAT(refusal_of(path("absent")), HasSubstr("can't be opened: No such file"));
  EXPECT_THAT(refusal_of(directory_), HasSubstr("not a regular file"));
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  EXPECT_THAT(refusal_of(path("fifo")), HasSubstr("not a regular file"));
}

TEST_F(SafetensorsTest, RefusesTruncatedFiles) {
  std::ofstream(path()).close();
  EXPECT_THAT(refusal_of(path()), HasSubstr("truncated: 0 bytes"));
  std::ofstream(path()) << "1234567";
  EXPECT_THAT(refusal_of(path()), HasSubstr("truncated: 7 bytes"));
  EXPECT_THAT(refusal("{}", 0, 3), HasSubstr("truncated: the header claims 3 bytes"));
}

TEST_F(SafetensorsTest, EveryPrefixOfAGoodFileIsRefused) {
  make(kGood, 32);
  std::ostringstream all;
  all << std::ifstream(path(), std::ios::binary).rdbuf();
  const std::string bytes = all.str();
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    std::ofstream(path("cut"), std::ios::binary) << bytes.substr(0, length);
    EXPECT_NE(refusal_of(path("cut")), "") << "prefix of " << length << " bytes";
  }
  std::ofstream(path("cut"), std::ios::binary) << bytes << '\0';
  EXPECT_THAT(refusal_of(path("cut")), HasSubstr("end at byte 32 of the data, which has 33"));
}

TEST_F(SafetensorsTest, RefusesOversizedHeaders) {
  EXPECT_THAT(refusal("{}", 0, 100'000'001), HasSubstr("claims 100000001 bytes, more than"));
  EXPECT_THAT(refusal("{}", 0, ~std::uint64_t{0}), HasSubstr("more than the 100000000 allowed"));
}

TEST_F(SafetensorsTest, RefusesWhatIsNotTheRightJson) {
  EXPECT_THAT(refusal("", 0), HasSubstr("must begin with '{'"));
  EXPECT_THAT(refusal(" {}", 0), HasSubstr("must begin with '{'"));
  EXPECT_THAT(refusal("[]", 0), HasSubstr("must begin with '{'"));
  EXPECT_THAT(refusal(R"({"a")", 0), HasSubstr("not valid JSON at byte"));
  EXPECT_THAT(refusal("{} {}", 0), HasSubstr("not valid JSON at byte"));
  EXPECT_THAT(refusal("{\"\xff\":1}", 0), HasSubstr("not valid JSON at byte"));
  EXPECT_THAT(refusal(R"({"a":null})", 0), HasSubstr(R"("a": expected an object, got null)"));
  EXPECT_THAT(refusal(R"({"a":[]})", 0), HasSubstr(R"("a": expected an object, got an array)"));
  EXPECT_THAT(refusal(R"({"__metadata__":{"a":1}})", 0), HasSubstr("expected a string, got 1"));
  EXPECT_THAT(refusal(R"({"__metadata__":{"a":{}}})", 0), HasSubstr("got an object"));
}

TEST_F(SafetensorsTest, DeepNestingIsRefusedAtOnce) {
  std::string deep = R"({"a":{"shape":)";
  deep.append(5'000'000, '[');
  EXPECT_THAT(refusal(deep, 0), HasSubstr("expected a number"));
}

TEST_F(SafetensorsTest, RefusesDuplicateKeys) {
  EXPECT_THAT(refusal(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                      R"("a":{"dtype":"F32","shape":[],"data_offsets":[4,8]}})",
                      8),
              HasSubstr(R"("a" appears twice)"));
  EXPECT_THAT(refusal(R"({"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4),
              HasSubstr(R"(tensor "a": "dtype": appears twice)"));
  EXPECT_THAT(refusal(R"({"__metadata__":{"k":"1","k":"2"}})", 0), HasSubstr("appears twice"));
}

TEST_F(SafetensorsTest, RefusesBadFieldsNamingEntryAndField) {
  const auto entry = [&](const char* fields) {
    return refusal(fmt::format(R"({{"layer.w":{{{}}}}})", fields), 4);
  };
  const auto names = [](const char* field, const char* what) {
    return AllOf(HasSubstr(R"(tensor "layer.w")"), HasSubstr(field), HasSubstr(what));
  };
  EXPECT_THAT(entry(R"("shape":[1],"data_offsets":[0,4])"), names("dtype", "missing"));
  EXPECT_THAT(entry(R"("dtype":"F32","data_offsets":[0,4])"), names("shape", "missing"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[1])"), names("data_offsets", "missing"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1)"),
              names("\"x\"", "unknown field"));
  EXPECT_THAT(entry(R"("dtype":"F31","shape":[1],"data_offsets":[0,4])"),
              names("dtype", "unknown element type \"F31\""));
  EXPECT_THAT(entry(R"("dtype":7,"shape":[1],"data_offsets":[0,4])"),
              names("dtype", "expected a string, got 7"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])"), names("shape", "-1"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])"), names("shape", "1.0"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":["1"],"data_offsets":[0,4])"),
              names("shape", "\"1\""));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[[1]],"data_offsets":[0,4])"),
              names("shape", "got an array"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4])"),
              names("shape", "out of range"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4])"),
              names("shape", "99999999999999999999"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":4,"data_offsets":[0,4])"),
              names("shape", "expected an array of numbers, got 4"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[1],"data_offsets":[4])"),
              names("data_offsets", "got 1 numbers"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,8])"),
              names("data_offsets", "at most 2"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])"),
              names("data_offsets", "end 0 lies before begin 4"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"),
              names("data_offsets", "beyond the data, which has 4 bytes"));
  EXPECT_THAT(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"),
              names("shape", "takes 8 bytes, \"data_offsets\" hold 4"));
  EXPECT_THAT(entry(R"("dtype":"F16","shape":[1],"data_offsets":[0,4])"),
              names("shape", "takes 2 bytes"));
}

TEST_F(SafetensorsTest, RefusesShapesWhoseSizeOverflows) {
  // 2^61 * 8 bytes wraps to 0, the size of the offsets.
  EXPECT_THAT(
      refusal(R"({"a":{"dtype":"I64","shape":[2305843009213693952],"data_offsets":[0,0]}})", 0),
      HasSubstr("more elements than can be addressed"));
  EXPECT_THAT(refusal(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],)"
                      R"("data_offsets":[0,0]}})",
                      0),
              HasSubstr("more elements than can be addressed"));
  std::string shape = "1";
  for (int i = 0; i < 64; ++i) shape += ",1";
  EXPECT_THAT(
      refusal(fmt::format(R"({{"a":{{"dtype":"U8","shape":[{}],"data_offsets":[0,1]}}}})", shape),
              1),
      HasSubstr("at most 64 numbers"));
}

TEST_F(SafetensorsTest, RefusesGapsAndOverlaps) {
  const auto two = [&](int begin, int end, std::size_t data) {
    return refusal(fmt::format(R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":[0,4]}},)"
                               R"("b":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}}}})",
                               end - begin, begin, end),
                   data);
  };
  EXPECT_EQ(two(4, 8, 8), "");
  EXPECT_THAT(two(5, 8, 8), AllOf(HasSubstr("tensor \"b\""), HasSubstr("leaving a gap")));
  EXPECT_THAT(two(3, 8, 8), AllOf(HasSubstr("tensor \"b\""), HasSubstr("overlapping")));
  EXPECT_THAT(two(0, 4, 4), HasSubstr("overlapping"));
  EXPECT_THAT(two(4, 8, 9), HasSubstr("end at byte 8 of the data, which has 9"));
  EXPECT_THAT(refusal("{}", 1), HasSubstr("end at byte 0 of the data, which has 1"));
}

TEST_F(SafetensorsTest, MessagesEscapeAndShortenHostileNames) {
  const std::string message =
      refusal(fmt::format(R"({{"\u001b[31m{}":{{"shape":[]}}}})", std::string(5000, 'x')), 0);
  EXPECT_THAT(message, HasSubstr("\\x1b[31m"));
  EXPECT_LT(message.size(), 500u);
}

TEST_F(SafetensorsTest, WrittenFilesReadBackUnchanged) {
  std::mt19937 random(20240711);
  std::vector<std::vector<std::byte>> storage;
  std::vector<SafetensorsEntry> entries;
  const std::vector<ir::DType> dtypes{
      ir::DType::kBool, ir::DType::kU8,       ir::DType::kI8,    ir::DType::kI16, ir::DType::kI32,
      ir::DType::kI64,  ir::DType::kF16,      ir::DType::kBF16,  ir::DType::kF32, ir::DType::kF64,
      ir::DType::kC64,  ir::DType::kF8E4M3FN, ir::DType::kF8E5M2};
  for (std::size_t i = 0; i < dtypes.size(); ++i) {
    std::vector<std::int64_t> shape(random() % 4);
    for (auto& size : shape) size = static_cast<std::int64_t>(random() % 5);
    const auto type = ir::TensorType::contiguous(dtypes[i], shape);
    auto& bytes = storage.emplace_back(static_cast<std::size_t>(type.nbytes()));
    for (auto& byte : bytes) byte = static_cast<std::byte>(random());
    entries.push_back({fmt::format("t\"{}.é", (i * 7) % 13), dtypes[i], shape, bytes});
  }
  write_safetensors(path(), entries, {{"format", "pt"}});
  const auto file = SafetensorsFile::open(path());
  EXPECT_EQ(file.metadata().at("format"), "pt");
  ASSERT_EQ(file.entries().size(), entries.size());
  for (const auto& entry : entries) {
    const auto& read = file.at(entry.name);
    EXPECT_EQ(read.dtype, entry.dtype);
    EXPECT_EQ(read.shape, entry.shape);
    EXPECT_TRUE(std::ranges::equal(read.data, entry.data)) << entry.name;
  }
}

TEST_F(SafetensorsTest, WritingIsIndependentOfOrderAndLeavesNoTemporaryFile) {
  const std::vector<std::byte> bytes(16, std::byte{7});
  const std::span<const std::byte> data(bytes);
  const SafetensorsEntry a{"a", ir::DType::kU8, {4}, data.first(4)};
  const SafetensorsEntry b{"b", ir::DType::kF32, {2, 2}, data};
  write_safetensors(path("1"), {a, b});
  write_safetensors(path("2"), {b, a});
  const auto slurp = [](const std::filesystem::path& file) {
    std::ostringstream out;
    out << std::ifstream(file, std::ios::binary).rdbuf();
    return out.str();
  };
  EXPECT_EQ(slurp(path("1")), slurp(path("2")));
  EXPECT_EQ((slurp(path("1")).size() - 20) % 64, 0u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 2);
}

TEST_F(SafetensorsTest, WritingRefusesWhatCouldNotBeReadBack) {
  const std::vector<std::byte> bytes(16, std::byte{7});
  const auto attempt = [&](const std::vector<SafetensorsEntry>& entries,
                           const std::filesystem::path& file) -> std::string {
    try {
      write_safetensors(file, entries);
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  };
  const SafetensorsEntry good{"a", ir::DType::kU8, {16}, bytes};
  EXPECT_EQ(attempt({good}, path()), "");
  EXPECT_THAT(attempt({good, good}, path()), HasSubstr("two tensors are called \"a\""));
  EXPECT_THAT(attempt({{"a", ir::DType::kU8, {15}, bytes}}, path()),
              HasSubstr("takes 15 bytes, got 16"));
  EXPECT_THAT(attempt({{"a", ir::DType::kC128, {1}, bytes}}, path()),
              HasSubstr("no element type for c128"));
  EXPECT_THAT(attempt({{"\xff", ir::DType::kU8, {16}, bytes}}, path()), HasSubstr("UTF-8"));
  EXPECT_THAT(attempt({good}, directory_ / "absent" / "t"),
              AllOf(HasSubstr("InvalidFile"), HasSubstr("can't be written")));
  EXPECT_EQ(SafetensorsFile::open(path()).entries().size(), 1u) << "the good file was replaced";
}

TEST_F(SafetensorsTest, RandomDamageIsRefusedOrReadWithinBounds) {
  make(kGood, 32);
  std::ostringstream all;
  all << std::ifstream(path(), std::ios::binary).rdbuf();
  const std::string good = all.str();
  std::mt19937 random(7);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = good;
    for (unsigned hits = 1 + random() % 3; hits > 0; --hits) {
      bytes[random() % (bytes.size() - 32)] = static_cast<char>(random());
    }
    std::ofstream(path("damaged"), std::ios::binary | std::ios::trunc) << bytes;
    try {
      const auto file = SafetensorsFile::open(path("damaged"));
      std::size_t sum = 0;
      for (const auto& entry : file.entries()) sum += entry.data.size();
      EXPECT_EQ(sum, 32u);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kInvalidFile);
      ++refused;
    }
  }
  EXPECT_GT(refused, 2000);
}

}  // namespace
}  // namespace monograph::importer
