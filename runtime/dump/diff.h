// Line differences between two texts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace monograph::dump {

/// Lines numbered so that equal lines have equal numbers, across any number of texts.
class LineTable {
 public:
  /// Numbers of the lines of `text`, without their newlines.
  std::vector<std::int32_t> intern(std::string_view text);
  const std::vector<std::string>& lines() const noexcept { return lines_; }

 private:
  std::int32_t id_of(std::string_view line);

  std::vector<std::string> lines_;
  std::vector<std::vector<std::int32_t>> buckets_;  // looked up by hash, never iterated
};

/// `count` lines that both texts have, that only the first has, or only the second.
struct DiffRun {
  enum class Kind : std::uint8_t { kSame, kRemoved, kAdded };
  Kind kind = Kind::kSame;
  std::int32_t count = 0;
  bool operator==(const DiffRun&) const = default;
};

/// Turns `before` into `after`: lines that occur once in each anchor the alignment (patience diff,
/// B. Cohen), equal neighbours join them, everything between counts as replaced. In a graph nearly
/// every line occurs once, so this is close to minimal at O(n log n).
std::vector<DiffRun> diff(const std::vector<std::int32_t>& before,
                          const std::vector<std::int32_t>& after);

/// "unified diff" with three lines of context, as `diff -u` prints and `patch` reads it; empty if
/// the texts are equal.
std::string unified_diff(std::string_view before_name, std::string_view before,
                         std::string_view after_name, std::string_view after);

}  // namespace monograph::dump
