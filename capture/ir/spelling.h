// Spellings that the text form, its parser and the Python form share.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "capture/ir/types.h"

namespace monograph::ir {

inline constexpr std::size_t kMaxNesting = 64;      ///< lists in lists, graphs in graphs
inline constexpr std::size_t kMaxNameBytes = 4096;  ///< names, targets, keywords of arguments

/// Letter, digit or underscore of ASCII; independent of the locale.
constexpr bool is_name_char(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}
/// Non-empty, of name characters, not starting with a digit.
bool is_identifier(std::string_view s) noexcept;

/// Bytes of the well-formed UTF-8 sequence at `at` (1 to 4), 0 if there is none; its code point
/// goes to `code_point`. Overlong forms, surrogates and values past U+10FFFF aren't well-formed.
std::size_t decode_utf8(std::string_view s, std::size_t at, char32_t& code_point) noexcept;

/// "text" in double quotes. Printable UTF-8 stays; quotes, backslashes, controls, characters that
/// reorder or hide text, and bytes that aren't UTF-8 are escaped (\" \\ \n \r \t \xNN per byte).
std::string quoted(std::string_view s);
/// `s` itself if it consists of name characters and dots, otherwise `quoted(s)`.
std::string word_or_quoted(std::string_view s);
/// A Python string literal of ASCII; bytes that aren't UTF-8 become lone surrogates, as Python's
/// "surrogateescape" has it.
std::string python_quoted(std::string_view s);

/// Shortest digits that read back as the same double, with a point or an exponent: "1.0", "1e-05",
/// "inf", "-inf", "nan".
std::string spell_double(double value);
/// "cuda:0"; "cuda" without an index.
std::string short_device(const Device& device);

}  // namespace monograph::ir
