// What counts as a difference between tensors.
#include "runtime/inspect/compare.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace monograph::inspect {
namespace {

using testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

std::string found(const at::Tensor& got, const at::Tensor& expected, Tolerance t = {}) {
  return difference({got}, {expected}, t).value_or("");
}

TEST(Difference, NamesTheWorstElement) {
  const at::Tensor a = at::tensor({1.0, 2.0, 3.0, 4.0}).view({2, 2});
  at::Tensor b = a.clone();
  EXPECT_EQ(found(a, b), "");
  b[1][0] += 1;
  b[0][1] += 0.5;
  EXPECT_EQ(found(a, b), "output 0: 2 of 4 elements differ, most at [1, 0]: 3, expected 4");
}

TEST(Difference, ToleranceIsRelativeAndAbsolute) {
  const at::Tensor a = at::tensor({1000.0, 0.0});
  EXPECT_EQ(found(a + 0.05, a, {1e-4, 0.06}), "");
  EXPECT_NE(found(a + 0.05, a, {1e-4, 1e-5}), "");  // the zero has no relative tolerance
  EXPECT_EQ(found(a * 1.00005, a, {1e-4, 0}), "");
}

TEST(Difference, NanAndInfinityMustBeWhereExpected) {
  EXPECT_EQ(found(at::tensor({kNan, kInf}), at::tensor({kNan, kInf})), "");
  EXPECT_THAT(found(at::tensor({kNan, 1.0}), at::tensor({1.0, 1.0})), HasSubstr("at [0]"));
  EXPECT_NE(found(at::tensor({kInf}), at::tensor({-kInf})), "");
  EXPECT_NE(found(at::tensor({1.0}), at::tensor({kNan})), "");
}

TEST(Difference, OtherDtypesSizesAndCounts) {
  EXPECT_EQ(found(at::arange(4), at::arange(4)), "");
  EXPECT_NE(found(at::arange(4), at::arange(4).flip(0)), "");
  EXPECT_THAT(found(at::zeros({2}), at::zeros({2}, at::kLong)), HasSubstr("Float"));
  EXPECT_THAT(found(at::zeros({2}), at::zeros({3})), HasSubstr("expected"));
  EXPECT_THAT(difference({}, {at::zeros({1})}, {}).value_or(""), HasSubstr("0 outputs"));
  const at::Tensor c = at::complex(at::rand({3}), at::rand({3}));
  EXPECT_EQ(found(c, c.clone()), "");
  EXPECT_NE(found(c, at::conj(c).resolve_conj()), "");
  const at::Tensor m = at::randn({3, 4});
  EXPECT_EQ(found(m.t(), m.t().contiguous()), "");
}

}  // namespace
}  // namespace monograph::inspect
