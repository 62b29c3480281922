#include "runtime/cli/compare.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/isclose.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "capture/trace/convert.h"

namespace monograph::cli {
namespace {

std::string shape_text(const at::Tensor& tensor) {
  return trace::describe(tensor);
}

void compare_one(std::size_t index, const at::Tensor& a, const at::Tensor& b, double rtol,
                 double atol, Difference& difference) {
  if (a.sizes() != b.sizes() || a.scalar_type() != b.scalar_type()) {
    difference.max_abs = std::numeric_limits<double>::infinity();
    difference.complaint =
        fmt::format("out_{}: expected {}, got {}", index, shape_text(b), shape_text(a));
    return;
  }
  if (a.numel() == 0) return;
  constexpr double kHalf = 20, kBFloat16 = 160;
  const double factor = a.scalar_type() == at::kHalf       ? kHalf
                        : a.scalar_type() == at::kBFloat16 ? kBFloat16
                                                           : 1;
  const auto wide = a.is_complex() ? at::kComplexDouble : at::kDouble;
  const at::Tensor x = a.cpu().to(wide);
  const at::Tensor y = b.cpu().to(wide);
  const at::Tensor close = at::isclose(x, y, factor * rtol, factor * atol, /*equal_nan=*/true);
  const at::Tensor same = (x == y) | ((x != x) & (y != y));
  const at::Tensor gap = at::abs(x - y);
  double most = at::where(same, at::zeros_like(gap), gap).max().item<double>();
  if (!(most >= 0)) most = std::numeric_limits<double>::infinity();  // NaN on one side only
  difference.max_abs = std::max(difference.max_abs, most);
  const auto off = a.numel() - close.sum().item<std::int64_t>();
  if (off > 0 && difference.complaint.empty()) {
    difference.complaint = fmt::format("out_{}: {} of {} elements differ, by up to {:.3g}", index,
                                       off, a.numel(), most);
  }
}

}  // namespace

Difference compare(const std::vector<at::Tensor>& got, const std::vector<at::Tensor>& wanted,
                   double rtol, double atol) {
  Difference difference;
  if (got.size() != wanted.size()) {
    difference.max_abs = std::numeric_limits<double>::infinity();
    difference.complaint = fmt::format("expected {} outputs, got {}", wanted.size(), got.size());
    return difference;
  }
  for (std::size_t i = 0; i < got.size(); ++i) {
    compare_one(i, got[i], wanted[i], rtol, atol, difference);
  }
  return difference;
}

}  // namespace monograph::cli
