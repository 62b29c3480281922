// Line differences: hand cases, and random edits that must be reproduced.
#include "runtime/dump/diff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace monograph::dump {
namespace {

using Kind = DiffRun::Kind;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<DiffRun> diff_of(const std::string& before, const std::string& after) {
  LineTable table;
  const auto ids = table.intern(before);
  return diff(ids, table.intern(after));
}

TEST(Diff, EqualTextsAreOneRun) {
  EXPECT_THAT(diff_of("a\nb\n", "a\nb\n"), ElementsAre(DiffRun{Kind::kSame, 2}));
  EXPECT_THAT(diff_of("", ""), IsEmpty());
}

TEST(Diff, OneLineReplaced) {
  EXPECT_THAT(diff_of("a\nb\nc\n", "a\nx\nc\n"),
              ElementsAre(DiffRun{Kind::kSame, 1}, DiffRun{Kind::kRemoved, 1},
                          DiffRun{Kind::kAdded, 1}, DiffRun{Kind::kSame, 1}));
}

TEST(Diff, UnifiedFormIsWhatPatchReads) {
  EXPECT_EQ(unified_diff("a.txt", "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "b.txt",
                         "1\n2\n3\n4\nfive\n6\n7\n8\n9\n"),
            "--- a.txt\n+++ b.txt\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n");
  EXPECT_EQ(unified_diff("a", "x\n", "b", "x\n"), "");
  EXPECT_EQ(unified_diff("a", "", "b", "x\n"), "--- a\n+++ b\n@@ -0,0 +1,1 @@\n+x\n");
}

/// Applies the runs to `before` with lines taken from `after` where they are added.
std::vector<std::int32_t> apply(const std::vector<DiffRun>& runs,
                                const std::vector<std::int32_t>& before,
                                const std::vector<std::int32_t>& after) {
  std::vector<std::int32_t> out;
  std::size_t b = 0;
  std::size_t a = 0;
  for (const DiffRun& run : runs) {
    for (std::int32_t i = 0; i < run.count; ++i) {
      if (run.kind != Kind::kAdded) {
        if (run.kind == Kind::kSame) out.push_back(before.at(b));
        ++b;
      }
      if (run.kind == Kind::kAdded) out.push_back(after.at(a));
      if (run.kind != Kind::kRemoved) ++a;
    }
  }
  EXPECT_EQ(b, before.size());
  return out;
}

TEST(Diff, RandomEditsAreReproduced) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::int32_t> before;
    const int lines = static_cast<int>(random() % 60);
    for (int i = 0; i < lines; ++i) before.push_back(static_cast<std::int32_t>(random() % 40));
    std::vector<std::int32_t> after = before;
    for (int edits = static_cast<int>(random() % 12); edits > 0; --edits) {
      const auto at = static_cast<std::ptrdiff_t>(random() % (after.size() + 1));
      if (random() % 2 == 0 || after.empty()) {
        after.insert(after.begin() + at, static_cast<std::int32_t>(random() % 50));
      } else {
        after.erase(after.begin() + std::min<std::ptrdiff_t>(at, std::ssize(after) - 1));
      }
    }
    ASSERT_EQ(apply(diff(before, after), before, after), after) << "round " << round;
  }
}

/// Lines that occur once and stay where they are must not be shown as changed.
TEST(Diff, IsMinimalWhereLinesAreDistinct) {
  std::vector<std::int32_t> before;
  for (int i = 0; i < 100; ++i) before.push_back(i);
  std::vector<std::int32_t> after = before;
  after.erase(after.begin() + 20, after.begin() + 23);
  after.insert(after.begin() + 50, 1000);
  int changed = 0;
  for (const DiffRun& run : diff(before, after)) {
    if (run.kind != Kind::kSame) changed += run.count;
  }
  EXPECT_EQ(changed, 4);
}

}  // namespace
}  // namespace monograph::dump
