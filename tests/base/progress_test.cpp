// Progress: quiet for a second, then one line per step.
#include "runtime/base/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace monograph::base {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::IsEmpty;

struct Recorded {
  std::chrono::steady_clock::time_point now;
  std::vector<std::string> lines;
  Progress progress{"capturing m f32_4",
                    [this](std::string_view line) { lines.emplace_back(line); },
                    [this] { return now; }};
};

TEST(Progress, QuickWorkSaysNothing) {
  Recorded r;
  r.now += milliseconds(400);
  r.progress.step("traced");
  r.now += milliseconds(600);
  r.progress.step("built");
  EXPECT_THAT(r.lines, IsEmpty());
}

TEST(Progress, SlowWorkReportsEveryStepAfterTheFirstSecond) {
  Recorded r;
  r.now += milliseconds(900);
  r.progress.step("traced 402 nodes");
  r.now += milliseconds(600);
  r.progress.step("ran 9 passes");
  r.now += milliseconds(1000);
  r.progress.step("built");
  EXPECT_THAT(r.lines, ElementsAre("capturing m f32_4: ran 9 passes (1.5 s)",
                                   "capturing m f32_4: built (2.5 s)"));
}

TEST(Progress, SpellsBytes) {
  EXPECT_EQ(spell_bytes(17), "17 B");
  EXPECT_EQ(spell_bytes(1536), "1.5 KiB");
  EXPECT_EQ(spell_bytes(3.0 * 1024 * 1024 * 1024), "3.0 GiB");
}

}  // namespace
}  // namespace monograph::base
