#include "capture/ir/cursor.h"

#include <monograph/error.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <limits>

#include "capture/ir/spelling.h"

namespace monograph::ir {
namespace {

bool is_blank(char c) noexcept {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool is_word_char(char c) noexcept {
  return is_name_char(c) || c == '.';
}

bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

int hex_digit(char c) noexcept {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// Reads all of `s` as a T; false if it isn't one or doesn't fit.
template <class T>
bool read_all(std::string_view s, T& value, auto... format) noexcept {
  const auto result = std::from_chars(s.data(), s.data() + s.size(), value, format...);
  return result.ec == std::errc() && result.ptr == s.data() + s.size();
}

}  // namespace

void Cursor::skip_blank() {
  while (at_ < text_.size()) {
    if (is_blank(text_[at_])) {
      ++at_;
    } else if (text_.substr(at_, 2) == "//") {
      at_ = std::min(text_.find('\n', at_), text_.size());
    } else {
      return;
    }
  }
}

char Cursor::peek() {
  skip_blank();
  return at_ < text_.size() ? text_[at_] : '\0';
}

bool Cursor::at_end() {
  skip_blank();
  return at_ == text_.size();
}

bool Cursor::accept(char c) {
  if (at_end() || text_[at_] != c) return false;
  ++at_;
  return true;
}

void Cursor::expect(char c) {
  if (!accept(c)) fail(std::string("'") + c + "'");
}

std::string_view Cursor::ahead_word() {
  skip_blank();
  std::size_t end = at_;
  while (end < text_.size() && is_word_char(text_[end])) ++end;
  return text_.substr(at_, end - at_);
}

bool Cursor::accept_word(std::string_view word) {
  if (ahead_word() != word) return false;
  at_ += word.size();
  return true;
}

void Cursor::expect_word(std::string_view word) {
  if (!accept_word(word)) fail("'" + std::string(word) + "'");
}

std::string Cursor::word(const char* what) {
  const std::string_view w = ahead_word();
  if (w.empty()) fail(what);
  if (w.size() > kMaxNameBytes) fail(std::string(what) + " of at most 4096 bytes");
  at_ += w.size();
  return std::string(w);
}

std::string Cursor::identifier(const char* what) {
  if (const std::string_view w = ahead_word(); !is_identifier(w)) fail(what);
  return word(what);
}

char Cursor::escaped(std::size_t start) {
  const char c = at_ < text_.size() ? text_[at_++] : '\0';
  switch (c) {
    case '"':
    case '\\':
      return c;
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'x':
      break;
    default:
      fail_at(start, "expected one of \\\" \\\\ \\n \\r \\t \\xNN in a string");
  }
  const int high = at_ < text_.size() ? hex_digit(text_[at_]) : -1;
  const int low = at_ + 1 < text_.size() ? hex_digit(text_[at_ + 1]) : -1;
  if (high < 0 || low < 0) fail_at(start, "expected two hexadecimal digits after \\x");
  at_ += 2;
  return static_cast<char>(high * 16 + low);
}

std::string Cursor::string(const char* what) {
  const std::size_t start = position();
  if (!accept('"')) fail(what);
  std::string out;
  while (at_ < text_.size()) {
    const char c = text_[at_++];
    if (c == '"') return out;
    if (c == '\n') break;
    out += c == '\\' ? escaped(at_ - 1) : c;
  }
  fail_at(start, "expected a string that ends on its line");
}

std::string Cursor::name(const char* what) {
  const std::size_t start = position();
  std::string s = peek() == '"' ? string(what) : word(what);
  if (s.size() > kMaxNameBytes) {
    fail_at(start, std::string("expected ") + what + " of at most 4096 bytes");
  }
  return s;
}

std::string_view Cursor::ahead_number() {
  skip_blank();
  std::size_t end = at_;
  while (end < text_.size()) {
    const char c = text_[end];
    const bool sign = c == '-' || c == '+';
    const bool sign_fits = end == at_ ? c == '-' : text_[end - 1] == 'e' || text_[end - 1] == 'E';
    if (!is_word_char(c) && !(sign && sign_fits)) break;
    ++end;
  }
  return text_.substr(at_, end - at_);
}

std::int64_t Cursor::integer(const char* what) {
  const std::string_view s = ahead_number();
  std::int64_t value = 0;
  if (!read_all(s, value)) fail(what);
  at_ += s.size();
  return value;
}

std::int64_t Cursor::natural(const char* what) {
  const std::size_t start = position();
  const std::int64_t value = integer(what);
  if (value < 0) {
    fail_at(start,
            std::string("expected ") + what + " of at least 0, found " + std::to_string(value));
  }
  return value;
}

std::variant<std::int64_t, double> Cursor::number() {
  const std::string_view s = ahead_number();
  const std::string_view digits = s.starts_with('-') ? s.substr(1) : s;
  if (digits == "inf" || digits == "nan") {
    if (s == "-nan") fail("a number");
    at_ += s.size();
    const bool is_nan = digits == "nan";
    if (is_nan && accept('(')) return exact_nan();
    const double value =
        is_nan ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity();
    return s.starts_with('-') ? -value : value;
  }
  if (digits.empty() || !is_digit(digits[0])) fail("a number");
  if (std::all_of(digits.begin(), digits.end(), is_digit)) {
    return integer("a number that fits in 64 bits");
  }
  double value = 0;
  if (!read_all(s, value, std::chars_format::general)) fail("a number that fits in 64 bits");
  at_ += s.size();
  return value;
}

double Cursor::exact_nan() {
  const std::size_t start = position();
  const std::string digits = word("the bits of a NaN");
  std::uint64_t bits = 0;
  const bool read =
      digits.starts_with("0x") && read_all(std::string_view(digits).substr(2), bits, 16);
  const auto value = std::bit_cast<double>(bits);
  if (!read || value == value)
    fail_at(start, "expected the bits of a NaN, as in nan(0x7ff8000000000001)");
  expect(')');
  return value;
}

std::size_t Cursor::position() {
  skip_blank();
  return at_;
}

std::string Cursor::found() const {
  if (at_ >= text_.size()) return "the end of the text";
  std::size_t end = at_;
  while (end < text_.size() && end - at_ < 24 && is_word_char(text_[end])) ++end;
  char32_t code_point = 0;
  const std::size_t least = std::max<std::size_t>(decode_utf8(text_, at_, code_point), 1);
  const std::string item = quoted(text_.substr(at_, std::max(end - at_, least)));
  return "'" + item.substr(1, item.size() - 2) + "'";
}

void Cursor::fail(const std::string& expected) {
  skip_blank();
  fail_at(at_, "expected " + expected + ", found " + found());
}

void Cursor::fail_at(std::size_t position, const std::string& message) const {
  const std::string_view before = text_.substr(0, position);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const std::size_t newline = before.rfind('\n');
  const std::string_view row =
      newline == std::string_view::npos ? before : before.substr(newline + 1);
  // Columns count characters, so bytes that continue one don't.
  const auto column = 1 + std::count_if(row.begin(), row.end(), [](char c) {
                        return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U;
                      });
  throw Error(Code::kInvalidGraph, "line " + std::to_string(line) + ", column " +
                                       std::to_string(column) + ": " + message);
}

}  // namespace monograph::ir
