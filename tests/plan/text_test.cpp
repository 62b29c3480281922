#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/error.h>

#include <limits>
#include <random>
#include <string>

#include "runtime/plan/plan.h"
#include "tests/plan/problems.h"

namespace monograph::plan {
namespace {

using testing::Builder;
using ::testing::HasSubstr;

constexpr const char* kSample = R"(problem {
  b0 = input[bytes=256, slot=0, name="x"]
  b1 = weight[bytes=8192, name="fc.weight"]
  b2 = intermediate[bytes=128, name="linear"]
  b3 = output[bytes=128, slot=0, name="relu"]
  l0 = launch[name="linear", reads=(b0, b1), writes=(b2), workspace=512]
  l1 = launch[name="relu", reads=(b2), writes=(b3)]
}
)";

TEST(Text, ProblemReadsAsWritten) {
  const Problem problem = parse_problem(kSample);
  ASSERT_EQ(problem.buffers.size(), 4U);
  EXPECT_EQ(problem.buffers[1].name, "fc.weight");
  EXPECT_EQ(problem.buffers[3].slot, 0);
  ASSERT_EQ(problem.launches.size(), 2U);
  EXPECT_EQ(problem.launches[0].workspace_bytes, 512);
  EXPECT_EQ(problem.launches[0].reads, (std::vector<BufferId>{0, 1}));
  EXPECT_EQ(text(problem), kSample);
}

TEST(Text, PlanShowsEverything) {
  EXPECT_EQ(
      text(make_plan(parse_problem(kSample))),
      std::string(kSample) +
          R"(plan[concurrency=sequential, inputs=1, outputs=1, launches=2, edges=1, arena_bytes=768, lower_bound_bytes=640, ratio=1.20]
edges {
  l1 after l0
}
arena {
  workspace of l0 at [0, 512) during l0..l0
  b2 at [512, 768) during l0..l1
}
)");
  EXPECT_THAT(text(make_plan(parse_problem(kSample), Concurrency::kGraph)),
              HasSubstr("concurrency=graph"));
}

TEST(Text, SeveralEdgesShareALine) {
  Builder b;
  const BufferId x = b.intermediate(4);
  const BufferId y = b.intermediate(4);
  b.launch({}, {x});
  b.launch({}, {y});
  b.launch({x, y}, {});
  EXPECT_THAT(text(make_plan(b.take())), HasSubstr("edges {\n  l2 after l0, l1\n}"));
}

TEST(Text, RandomProblemsRoundTrip) {
  std::mt19937_64 random(51);
  for (const std::string& family : testing::families()) {
    for (int i = 0; i < 50; ++i) {
      const Problem problem = testing::random_problem(family, random);
      ASSERT_EQ(parse_problem(text(problem)), problem) << text(problem);
    }
  }
}

TEST(Text, AwkwardNamesAndNumbersRoundTrip) {
  Problem problem;
  std::string every_byte;
  for (int c = 0; c < 256; ++c) every_byte += static_cast<char>(c);
  problem.buffers.push_back({0, BufferKind::kState, std::numeric_limits<std::int64_t>::max(),
                             std::numeric_limits<std::int32_t>::min(), every_byte});
  problem.buffers.push_back({1, BufferKind::kWeight, std::numeric_limits<std::int64_t>::min(),
                             std::numeric_limits<std::int32_t>::max(), "\"]\\x41\n}"});
  problem.launches.push_back({0, std::string(4096, '"'), {-5, 3}, {}, -1});
  problem.launches.push_back({1, "", {}, {7, 7, 1}, 0});
  EXPECT_EQ(parse_problem(text(problem)), problem);
  EXPECT_EQ(parse_problem(text(Problem{})), Problem{});
}

void expect_error(const std::string& source, const std::string& message) {
  try {
    parse_problem(source);
    FAIL() << "parsed: " << source;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kInvalidGraph);
    EXPECT_THAT(e.what(), HasSubstr(message)) << source;
  }
}

TEST(Parse, ErrorsSayWhereAndWhat) {
  expect_error("", "line 1, column 1: expected 'problem', found end of text");
  expect_error("problem", "line 1, column 8: expected '{', found end of text");
  expect_error("problem {\n", "line 2, column 1: expected a launch 'l...' or '}'");
  expect_error("problem {} x", "line 1, column 12: expected the end of the text, found 'x'");
  expect_error("problem {\n  b1 = input[]\n}", "line 2, column 3: expected 'b0', found 'b'");
  expect_error("problem {\n  b0 = thing[]\n}", "line 2, column 8: expected a buffer kind");
  expect_error("problem { b0 = input[size=1] }", "expected one of bytes, slot, name");
  expect_error("problem { b0 = input[bytes=x] }", "column 28: expected a number, found 'x'");
  expect_error("problem { b0 = input[bytes=1 slot=0] }", "column 30: expected ',', found 's'");
  expect_error("problem { b0 = input[bytes=1, bytes=2] }", "expected 'bytes' only once");
  expect_error("problem { b0 = input[bytes=9223372036854775808] }", "a number of 64 bits");
  expect_error("problem { b0 = input[bytes=-9223372036854775809] }", "a number of 64 bits");
  expect_error("problem { b0 = input[slot=2147483648] }", "a number of 32 bits");
  expect_error("problem { b0 = input[name=\"x\n\"] }",
               "column 29: expected '\"' to end the string");
  expect_error("problem { b0 = input[name=\"\\q\"] }", "after a backslash, found 'q'");
  expect_error("problem { b0 = input[name=\"\\x4g\"] }", "a hexadecimal digit, found 'g'");
  expect_error("problem { l0 = launch[reads=(l1)] }", "expected 'b', found 'l'");
  expect_error("problem { l0 = launch[reads=(b1 b2)] }", "expected ',', found 'b'");
  expect_error("problem { l0 = launch[when=3] }", "expected one of name, reads, writes, workspace");
  expect_error(std::string("problem \x01", 9), "found byte 1");
}

TEST(Parse, NamesAreBounded) {
  const std::string long_name(4097, 'x');
  expect_error("problem { b0 = weight[name=\"" + long_name + "\"] }", "at most 4096 bytes");
}

/// No prefix and no single spoilt byte of a valid text makes parsing do anything but finish or
/// throw an Error.
TEST(Parse, DamagedTextsEndInErrors) {
  const std::string good = kSample;
  for (std::size_t cut = 0; cut + 2 < good.size(); ++cut) {
    EXPECT_THROW(parse_problem(good.substr(0, cut)), Error) << cut;
  }
  std::mt19937_64 random(52);
  for (int i = 0; i < 3000; ++i) {
    std::string bad = good;
    bad[random() % bad.size()] = static_cast<char>(random() % 256);
    try {
      const Problem problem = parse_problem(bad);
      EXPECT_EQ(parse_problem(text(problem)), problem);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kInvalidGraph);
    }
  }
}

}  // namespace
}  // namespace monograph::plan
