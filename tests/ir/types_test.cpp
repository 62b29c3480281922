// Size arithmetic of tensor types, and the spellings of enumerations.
#include "capture/ir/types.h"

#include <limits>
#include <set>

#include "capture/ir/extent.h"
#include "capture/ir/spelling.h"
#include "tests/ir/expect.h"

namespace monograph::ir {
namespace {

using ::testing::ElementsAre;
using testing::f32;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

TEST(Types, ComputesStridesAsTorchDoes) {
  EXPECT_THAT(contiguous_strides({2, 3, 4}), ElementsAre(12, 4, 1));
  EXPECT_THAT(contiguous_strides({2, 0, 4}), ElementsAre(4, 4, 1));
  EXPECT_THAT(contiguous_strides({}), ElementsAre());
}

TEST(Types, KnowsRowMajorTensors) {
  EXPECT_TRUE(f32({2, 3}).is_contiguous());
  EXPECT_TRUE((TensorType{DType::kF32, {2, 1, 3}, {3, 99, 1}, 0, {}}.is_contiguous()));
  EXPECT_TRUE((TensorType{DType::kF32, {0, 3}, {7, 7}, 0, {}}.is_contiguous()));
  EXPECT_FALSE((TensorType{DType::kF32, {2, 3}, {1, 2}, 0, {}}.is_contiguous()));
  EXPECT_FALSE((TensorType{DType::kF32, {2}, {0}, 0, {}}.is_contiguous()));
}

TEST(Types, MeasuresStorageExtent) {
  const auto extent = [](const TensorType& t) {
    EXPECT_EQ(checked_extent(t), t.storage_extent());
    return t.storage_extent();
  };
  EXPECT_EQ(extent(f32({2, 3})), 24);
  EXPECT_EQ(extent(f32({})), 4);
  EXPECT_EQ(extent(f32({5, 0})), 0);
  EXPECT_EQ(extent({DType::kF64, {2, 3}, {1, 10}, 7, {}}), (7 + 1 + 20 + 1) * 8);
  EXPECT_EQ(extent({DType::kF32, {5, 3}, {0, 1}, 0, {}}), 12);
  EXPECT_EQ(extent(TensorType{}), 0);
}

TEST(Types, RefusesExtentsThatDontFit) {
  const auto f32_of = [](std::vector<std::int64_t> sizes, std::vector<std::int64_t> strides,
                         std::int64_t offset = 0) {
    return TensorType{DType::kF32, std::move(sizes), std::move(strides), offset, {}};
  };
  EXPECT_EQ(checked_extent({DType::kU8, {kMax}, {1}, 0, {}}), kMax);
  EXPECT_EQ(checked_extent({DType::kU8, {kMax}, {1}, 1, {}}), std::nullopt);
  EXPECT_EQ(checked_extent(f32_of({kMax}, {0})), std::nullopt) << "elements times bytes";
  EXPECT_EQ(checked_extent(f32_of({kMax, 2}, {0, 0})), std::nullopt);
  EXPECT_EQ(checked_extent(f32_of({0, kMax, kMax}, {0, 0, 0})), std::nullopt);
  EXPECT_EQ(checked_extent(f32_of({2}, {kMax})), std::nullopt);
  EXPECT_EQ(checked_extent(f32_of({-1}, {1})), std::nullopt);
  EXPECT_EQ(checked_extent(f32_of({1}, {-1})), std::nullopt);
  EXPECT_EQ(checked_extent(f32_of({1}, {1}, -1)), std::nullopt);
  EXPECT_EQ(checked_extent(f32_of({1, 1}, {1})), std::nullopt);
}

TEST(Types, SpellsEveryElementTypeDifferently) {
  std::set<std::string_view> names;
  std::set<std::string_view> python;
  for (int i = 0; i <= static_cast<int>(DType::kF8E5M2); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
    EXPECT_TRUE(names.insert(dtype_name(dtype)).second);
    EXPECT_TRUE(python.insert(python_dtype_name(dtype)).second);
    EXPECT_EQ(itemsize(dtype) > 0, dtype != DType::kUndefined);
    if (dtype != DType::kUndefined) {
      EXPECT_EQ(dtype_from_python_name(python_dtype_name(dtype)), dtype);
    }
    EXPECT_FALSE(is_floating(dtype) && is_integral(dtype));
  }
  EXPECT_EQ(dtype_from_name("float"), std::nullopt);
  EXPECT_EQ(dtype_from_python_name("float32"), std::nullopt);
}

TEST(Spelling, DecodesOnlyWellFormedUtf8) {
  const auto length = [](std::string_view s) {
    char32_t c = 0;
    return decode_utf8(s, 0, c);
  };
  EXPECT_EQ(length("a"), 1U);
  EXPECT_EQ(length("\xc3\xa9"), 2U);
  EXPECT_EQ(length("\xe2\x82\xac"), 3U);
  EXPECT_EQ(length("\xf0\x9f\x99\x82"), 4U);
  EXPECT_EQ(length("\xc3"), 0U) << "cut off";
  EXPECT_EQ(length("\x80"), 0U) << "no lead";
  EXPECT_EQ(length("\xc0\xaf"), 0U) << "overlong";
  EXPECT_EQ(length("\xe0\x80\xaf"), 0U) << "overlong";
  EXPECT_EQ(length("\xed\xa0\x80"), 0U) << "surrogate";
  EXPECT_EQ(length("\xf4\x90\x80\x80"), 0U) << "past the last code point";
  EXPECT_EQ(length("\xf5\x80\x80\x80"), 0U);
}

TEST(Spelling, WritesPythonLiteralsInAscii) {
  EXPECT_EQ(python_quoted("a\"b\\\n"), R"("a\"b\\\n")");
  EXPECT_EQ(python_quoted("é€🙂"), R"("\xe9\u20ac\U0001f642")");
  EXPECT_EQ(python_quoted(std::string("\0\x7f\xff", 3)), R"("\x00\x7f\udcff")");
}

}  // namespace
}  // namespace monograph::ir
