#include "capture/ir/spelling.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>

namespace monograph::ir {
namespace {

unsigned char byte_at(std::string_view s, std::size_t i) noexcept {
  return static_cast<unsigned char>(s[i]);
}

std::string hex(std::uint32_t value, int digits) {
  std::array<char, 16> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "%0*x", digits, value);
  return buffer.data();
}

/// Controls, zero-width and direction marks, line separators, byte-order mark, unassigned ends.
bool is_hidden(char32_t c) noexcept {
  return c < 0x20 || (c >= 0x7f && c <= 0x9f) || (c >= 0x200b && c <= 0x200f) ||
         (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xad || c == 0xfeff ||
         (c >= 0xfff0 && c <= 0xfffb) || (c & 0xfffe) == 0xfffe;
}

/// The escapes that both forms spell alike; empty if `c` has none.
std::string_view short_escape(char32_t c) noexcept {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return {};
  }
}

}  // namespace

bool is_identifier(std::string_view s) noexcept {
  return !s.empty() && !(s[0] >= '0' && s[0] <= '9') &&
         std::all_of(s.begin(), s.end(), is_name_char);
}

std::size_t decode_utf8(std::string_view s, std::size_t at, char32_t& code_point) noexcept {
  const unsigned char lead = byte_at(s, at);
  if (lead < 0x80) {
    code_point = lead;
    return 1;
  }
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || at + length > s.size()) return 0;
  char32_t value = lead & (0xffU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    const unsigned char next = byte_at(s, at + i);
    if ((next & 0xc0) != 0x80) return 0;
    value = (value << 6) | (next & 0x3fU);
  }
  constexpr std::array<char32_t, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
  if (value < kLeast[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return 0;
  code_point = value;
  return length;
}

std::string quoted(std::string_view s) {
  std::string out = "\"";
  for (std::size_t i = 0; i < s.size();) {
    char32_t c = 0;
    const std::size_t length = decode_utf8(s, i, c);
    const std::size_t step = std::max<std::size_t>(length, 1);
    if (const auto escape = short_escape(c); length == 1 && !escape.empty()) {
      out += escape;
    } else if (length == 0 || is_hidden(c)) {
      for (std::size_t k = 0; k < step; ++k) out += "\\x" + hex(byte_at(s, i + k), 2);
    } else {
      out += s.substr(i, step);
    }
    i += step;
  }
  return out + '"';
}

std::string word_or_quoted(std::string_view s) {
  const auto plain = [](char c) { return is_name_char(c) || c == '.'; };
  return !s.empty() && std::all_of(s.begin(), s.end(), plain) ? std::string(s) : quoted(s);
}

std::string python_quoted(std::string_view s) {
  std::string out = "\"";
  for (std::size_t i = 0; i < s.size();) {
    char32_t c = 0;
    const std::size_t length = decode_utf8(s, i, c);
    if (length == 0) {
      out += "\\udc" + hex(byte_at(s, i), 2);
    } else if (const auto escape = short_escape(c); !escape.empty()) {
      out += escape;
    } else if (c >= 0x20 && c < 0x7f) {
      out += s[i];
    } else if (c < 0x100) {
      out += "\\x" + hex(c, 2);
    } else {
      out += c < 0x10000 ? "\\u" + hex(c, 4) : "\\U" + hex(c, 8);
    }
    i += std::max<std::size_t>(length, 1);
  }
  return out + '"';
}

std::string spell_double(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 32> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  std::string digits(buffer.data(), end);
  if (digits.find_first_of(".e") == std::string::npos) digits += ".0";
  return digits;
}

std::string short_device(const Device& device) {
  constexpr std::array<std::string_view, 3> kNames{"cpu", "cuda", "meta"};
  std::string name(kNames[static_cast<std::size_t>(device.type)]);
  return device.index < 0 ? name : name + ":" + std::to_string(device.index);
}

}  // namespace monograph::ir
