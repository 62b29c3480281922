// What the harness says about series whose truth is known.
#include "bench/harness/statistics.h"

#include <gtest/gtest.h>
#include <monograph/error.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

namespace monograph::bench {
namespace {

/// Rounds of two contenders that share drifts of the machine, each with noise of its own and a
/// slow round now and then.
struct Pair {
  std::vector<double> a, b;
};
Pair draw(double factor, int rounds, double noise, std::mt19937_64& random) {
  std::normal_distribution<double> own(0, noise), drift(0, 0.2);
  std::bernoulli_distribution slow(0.05);
  Pair pair;
  for (int i = 0; i < rounds; ++i) {
    const double common = 100 * std::exp(drift(random));
    pair.a.push_back(common * factor * std::exp(own(random)) * (slow(random) ? 1.5 : 1));
    pair.b.push_back(common * std::exp(own(random)) * (slow(random) ? 1.5 : 1));
  }
  return pair;
}

TEST(Statistics, QuantilesAreThoseOfTheSortedSeries) {
  std::vector<double> series;
  for (int i = 100; i >= 0; --i) series.push_back(i);
  const Summary s = summarise(series);
  EXPECT_DOUBLE_EQ(s.median, 50);
  EXPECT_DOUBLE_EQ(s.p10, 10);
  EXPECT_DOUBLE_EQ(s.p90, 90);
  EXPECT_DOUBLE_EQ(s.p99, 99);
  EXPECT_DOUBLE_EQ(s.least, 0);
  EXPECT_DOUBLE_EQ(summarise({3, 1}).median, 2);
  EXPECT_THROW(summarise({}), Error);
}

TEST(Statistics, NoiseIsNoDifference) {
  std::mt19937_64 random(1);
  int reported = 0;
  for (int i = 0; i < 400; ++i) {
    const Pair pair = draw(1.0, 60, 0.03, random);
    if (compare_rounds(pair.a, pair.b).verdict != Verdict::kNoDifference) ++reported;
  }
  EXPECT_LE(reported, 4);  // of 400; the interval alone would allow 2 on average
}

TEST(Statistics, FivePercentAreFoundWhicheverWay) {
  std::mt19937_64 random(2);
  int slower = 0, faster = 0;
  for (int i = 0; i < 200; ++i) {
    const Pair pair = draw(1.05, 200, 0.03, random);
    if (compare_rounds(pair.a, pair.b).verdict == Verdict::kSlower) ++slower;
    if (compare_rounds(pair.b, pair.a).verdict == Verdict::kFaster) ++faster;
  }
  EXPECT_GE(slower, 190);
  EXPECT_GE(faster, 190);
}

TEST(Statistics, TheIntervalHoldsTheTrueRatio) {
  std::mt19937_64 random(3);
  int missed = 0;
  for (int i = 0; i < 1000; ++i) {
    const Pair pair = draw(1.2, 30, 0.1, random);
    const Ratio ratio = compare_rounds(pair.a, pair.b);
    EXPECT_LE(ratio.low, ratio.median);
    EXPECT_GE(ratio.high, ratio.median);
    if (ratio.low > 1.2 || ratio.high < 1.2) ++missed;
  }
  EXPECT_LE(missed, 15);  // 5 expected at a confidence of 0.995
}

TEST(Statistics, FewRoundsReportNothing) {
  const std::vector<double> slow(8, 200.0), fast(8, 100.0);
  EXPECT_EQ(compare_rounds(slow, fast).verdict, Verdict::kNoDifference);
  const std::vector<double> more(9, 200.0), less(9, 100.0);
  EXPECT_EQ(compare_rounds(more, less).verdict, Verdict::kSlower);
  EXPECT_DOUBLE_EQ(compare_rounds(more, less).median, 2);
}

TEST(Statistics, ManyRoundsHaveNarrowIntervals) {
  constexpr double kDeviations = 2.807;  // a normal quantile of 1 - 0.0025
  for (const int n : {400, 1074, 1075, 1900, 20000}) {
    std::vector<double> series(static_cast<std::size_t>(n));
    std::iota(series.begin(), series.end(), 1.0);
    const Interval interval = median_interval(series);
    const double half = kDeviations * std::sqrt(n) / 2;
    EXPECT_NEAR(interval.low, n / 2.0 - half, 2) << n;
    EXPECT_NEAR(interval.high, n / 2.0 + 1 + half, 2) << n;
  }
  std::mt19937_64 random(5);
  const Pair same = draw(1.0, 2000, 0.03, random);
  EXPECT_EQ(compare_rounds(same.a, same.b).verdict, Verdict::kNoDifference);
}

TEST(Statistics, SeriesMustBePaired) {
  EXPECT_THROW(compare_rounds({1, 2}, {1}), Error);
  EXPECT_THROW(compare_rounds({}, {}), Error);
}

}  // namespace
}  // namespace monograph::bench
