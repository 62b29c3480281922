// Reading head over graph text: characters, words, strings and numbers, and where it stands.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace monograph::ir {

/// Every read skips white space and "//" comments first. Any bytes are safe to read. Whatever
/// isn't as expected throws Error(kInvalidGraph) "line L, column C: expected ..., found ...".
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}

  /// The next character without taking it; '\0' at the end of the text.
  char peek();
  bool at_end();
  /// Takes `c` if it comes next.
  bool accept(char c);
  void expect(char c);
  /// Takes `word` if exactly this word comes next.
  bool accept_word(std::string_view word);
  void expect_word(std::string_view word);
  /// A run of name characters and dots. `what` is what the message says was expected.
  std::string word(const char* what);
  /// A word without dots that doesn't start with a digit.
  std::string identifier(const char* what);
  /// A quoted string of any length.
  std::string string(const char* what);
  /// A word or a quoted string, of kMaxNameBytes at most.
  std::string name(const char* what);
  std::int64_t integer(const char* what);
  /// An integer that is at least 0.
  std::int64_t natural(const char* what);
  /// An integer, or a double if it has a point or an exponent or is "inf", "-inf" or "nan".
  std::variant<std::int64_t, double> number();

  /// Where the next item starts; for `fail_at`.
  std::size_t position();
  [[noreturn]] void fail(const std::string& expected);
  /// The whole message, for errors that aren't about the next item.
  [[noreturn]] void fail_at(std::size_t position, const std::string& message) const;

 private:
  void skip_blank();
  std::string_view ahead_word();
  std::string_view ahead_number();
  char escaped(std::size_t start);
  double exact_nan();
  std::string found() const;

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace monograph::ir
