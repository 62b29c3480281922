#include "bench/minilm/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <vector>

namespace monograph::bench {
namespace {

constexpr double kRoundMicroseconds = 20'000;
constexpr int kMostCalls = 1000;
constexpr int kWarmUps = 3;

double microseconds_per_call(const std::function<void()>& call, int calls) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) call();
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
  return took.count() / calls;
}

Timing summarise(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const auto at = [&](double quantile) {
    const double place = quantile * static_cast<double>(samples.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, samples.size() - 1);
    return std::lerp(samples[below], samples[above], place - static_cast<double>(below));
  };
  return {at(0.5), at(0.1), at(0.9)};
}

}  // namespace

Comparison compare(const std::function<void()>& a, const std::function<void()>& b, int rounds) {
  for (int i = 0; i < kWarmUps; ++i) {
    a();
    b();
  }
  const double once = std::max(microseconds_per_call(a, 1), microseconds_per_call(b, 1));
  const int calls = std::clamp(static_cast<int>(kRoundMicroseconds / once), 1, kMostCalls);
  std::vector<double> of_a;
  std::vector<double> of_b;
  for (int round = 0; round < std::max(rounds, 1); ++round) {
    if (round % 2 == 0) {
      of_a.push_back(microseconds_per_call(a, calls));
      of_b.push_back(microseconds_per_call(b, calls));
    } else {
      of_b.push_back(microseconds_per_call(b, calls));
      of_a.push_back(microseconds_per_call(a, calls));
    }
  }
  return {summarise(of_a), summarise(of_b), std::max(rounds, 1), calls};
}

}  // namespace monograph::bench
