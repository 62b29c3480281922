#include "runtime/base/log.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace monograph::base {
namespace {

/// MONOGRAPH_LOG is read once, so it's set before anything is logged.
class LogTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { ::setenv("MONOGRAPH_LOG", "warning", 1); }

  static std::string logged(LogLevel level, std::string_view message) {
    ::testing::internal::CaptureStderr();
    log(level, message);
    return ::testing::internal::GetCapturedStderr();
  }
};

TEST_F(LogTest, NamesOfLevels) {
  EXPECT_EQ(log_level_from_name("off"), LogLevel::kOff);
  EXPECT_EQ(log_level_from_name("error"), LogLevel::kError);
  EXPECT_EQ(log_level_from_name("warning"), LogLevel::kWarning);
  EXPECT_EQ(log_level_from_name("info"), LogLevel::kInfo);
  EXPECT_EQ(log_level_from_name("debug"), LogLevel::kDebug);
  EXPECT_EQ(log_level_from_name("loud"), std::nullopt);
  EXPECT_EQ(log_level_from_name(""), std::nullopt);
}

TEST_F(LogTest, PrintsUpToTheLevelOfTheEnvironment) {
  EXPECT_EQ(log_level(), LogLevel::kWarning);
  EXPECT_EQ(logged(LogLevel::kError, "broken"), "monograph error: broken\n");
  EXPECT_EQ(logged(LogLevel::kWarning, "odd"), "monograph warning: odd\n");
  EXPECT_EQ(logged(LogLevel::kInfo, "fine"), "");
  EXPECT_EQ(logged(LogLevel::kDebug, "detail"), "");
  EXPECT_EQ(logged(LogLevel::kOff, "nothing is of this level"), "");
  EXPECT_FALSE(log_enabled(LogLevel::kOff));
  EXPECT_TRUE(log_enabled(LogLevel::kError));
}

}  // namespace
}  // namespace monograph::base
