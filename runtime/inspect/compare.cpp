#include "runtime/inspect/compare.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/view_as_real.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <span>

namespace monograph::inspect {
namespace {

bool equal(double got, double expected, const Tolerance& t) {
  if (std::isnan(got) || std::isnan(expected)) return std::isnan(got) && std::isnan(expected);
  if (std::isinf(got) || std::isinf(expected)) return got == expected;
  return std::abs(got - expected) <= t.absolute + t.relative * std::abs(expected);
}

double distance(double got, double expected) {
  const double d = std::abs(got - expected);
  return std::isnan(d) ? HUGE_VAL : d;
}

/// Elements as doubles, row-major; complex numbers as pairs.
at::Tensor as_doubles(const at::Tensor& t) {
  if (t.is_complex()) return at::view_as_real(t.cpu().to(at::kComplexDouble)).contiguous();
  return t.cpu().to(at::kDouble).contiguous();
}

std::vector<std::int64_t> position(std::int64_t index, at::IntArrayRef sizes) {
  std::vector<std::int64_t> at(sizes.size());
  for (std::size_t d = sizes.size(); d-- > 0;) {
    at[d] = index % sizes[d];
    index /= sizes[d];
  }
  return at;
}

std::optional<std::string> difference_of(const at::Tensor& got, const at::Tensor& expected,
                                         const Tolerance& tolerance) {
  if (got.defined() != expected.defined()) return "one of them is undefined";
  if (!got.defined()) return std::nullopt;
  if (got.sizes() != expected.sizes() || got.scalar_type() != expected.scalar_type()) {
    return fmt::format("{}[{}], expected {}[{}]", c10::toString(got.scalar_type()),
                       fmt::join(got.sizes(), ","), c10::toString(expected.scalar_type()),
                       fmt::join(expected.sizes(), ","));
  }
  const at::Tensor a = as_doubles(got);
  const at::Tensor b = as_doubles(expected);
  const std::span<const double> x(a.const_data_ptr<double>(), static_cast<std::size_t>(a.numel()));
  const std::span<const double> y(b.const_data_ptr<double>(), static_cast<std::size_t>(b.numel()));
  std::size_t count = 0;
  std::size_t worst = 0;
  double most = -1;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (equal(x[i], y[i], tolerance)) continue;
    ++count;
    if (distance(x[i], y[i]) > most) {
      most = distance(x[i], y[i]);
      worst = i;
    }
  }
  if (count == 0) return std::nullopt;
  return fmt::format("{} of {} elements differ, most at [{}]: {}, expected {}", count, x.size(),
                     fmt::join(position(static_cast<std::int64_t>(worst), a.sizes()), ", "),
                     x[worst], y[worst]);
}

}  // namespace

std::optional<std::string> difference(const std::vector<at::Tensor>& got,
                                      const std::vector<at::Tensor>& expected,
                                      const Tolerance& tolerance) {
  const c10::InferenceMode inference;
  if (got.size() != expected.size()) {
    return fmt::format("{} outputs, expected {}", got.size(), expected.size());
  }
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (const auto d = difference_of(got[i], expected[i], tolerance)) {
      return fmt::format("output {}: {}", i, *d);
    }
  }
  return std::nullopt;
}

}  // namespace monograph::inspect
