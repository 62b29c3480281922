// What a series of timings says, and how sure it is.
#pragma once

#include <string_view>
#include <vector>

namespace monograph::bench {

/// Quantiles of a series, in its unit; linear between neighbours.
struct Summary {
  double median = 0;
  double p10 = 0;
  double p90 = 0;
  double p99 = 0;
  double least = 0;
};
/// Error(kInvalidArgument) if `values` is empty.
Summary summarise(std::vector<double> values);

enum class Verdict : unsigned char { kFaster, kSlower, kNoDifference };
std::string_view verdict_name(Verdict verdict) noexcept;

/// How many times as long `a` takes as `b`.
struct Ratio {
  double median = 1;
  double low = 1;  ///< ends of the interval that holds the true median with confidence 0.995
  double high = 1;
  Verdict verdict = Verdict::kNoDifference;  ///< of a against b
};

/// The median of a series and the interval that holds the true one with confidence 0.995: order
/// statistics, no assumption about the distribution. Infinite below 9 values.
struct Interval {
  double median = 0;
  double low = 0;
  double high = 0;
};
Interval median_interval(std::vector<double> values);

/// Ratios within rounds, so that drifts of clock and load cancel. The interval is the
/// distribution-free one between order statistics (Conover, Practical Nonparametric Statistics,
/// 3rd ed., section 3.2). A difference is only reported if the whole interval lies more than
/// `tolerance` away from 1, since two copies of one program differ by a percent from where their
/// memory lies; fewer than 9 rounds never report one. Error(kInvalidArgument) if the
/// series differ in length or are empty.
Ratio compare_rounds(const std::vector<double>& a, const std::vector<double>& b,
                     double tolerance = 0.02);

}  // namespace monograph::bench
