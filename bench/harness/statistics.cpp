#include "bench/harness/statistics.h"

#include <monograph/error.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace monograph::bench {
namespace {

constexpr double kOutside = 0.005;  // probability that the interval misses the median

double quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - static_cast<double>(below));
}

// Largest k such that fewer than k of n fair coins show heads with probability at most `limit`.
std::size_t rank_of_limit(std::size_t n, double limit) {
  double log_term = -std::log(2.0) * static_cast<double>(n);  // 0.5^n itself is 0 from 1,075 on
  double sum = 0;
  std::size_t k = 0;
  while (k < n && sum + std::exp(log_term) <= limit) {
    sum += std::exp(log_term);
    ++k;
    log_term += std::log(static_cast<double>(n - k + 1) / static_cast<double>(k));
  }
  return k;
}

}  // namespace

Summary summarise(std::vector<double> values) {
  if (values.empty()) throw Error(Code::kInvalidArgument, "no timings to summarise");
  std::sort(values.begin(), values.end());
  return {quantile(values, 0.5), quantile(values, 0.1), quantile(values, 0.9),
          quantile(values, 0.99), values.front()};
}

std::string_view verdict_name(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::kFaster:
      return "faster";
    case Verdict::kSlower:
      return "slower";
    default:
      return "no difference";
  }
}

Interval median_interval(std::vector<double> values) {
  if (values.empty()) throw Error(Code::kInvalidArgument, "no timings to summarise");
  std::sort(values.begin(), values.end());
  const std::size_t k = rank_of_limit(values.size(), kOutside / 2);
  return {quantile(values, 0.5), k == 0 ? 0 : values[k - 1],
          k == 0 ? HUGE_VAL : values[values.size() - k]};
}

Ratio compare_rounds(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  if (a.size() != b.size() || a.empty()) {
    throw Error(Code::kInvalidArgument, "series of timings must have the same length");
  }
  std::vector<double> ratios(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) ratios[i] = a[i] / b[i];
  const Interval interval = median_interval(std::move(ratios));
  Ratio result{interval.median, interval.low, interval.high, Verdict::kNoDifference};
  if (result.low > 1 + tolerance) result.verdict = Verdict::kSlower;
  if (result.high < 1 / (1 + tolerance)) result.verdict = Verdict::kFaster;
  return result;
}

}  // namespace monograph::bench
