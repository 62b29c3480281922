#include "bench/minilm/text.h"

#include <fmt/format.h>
#include <monograph/error.h>
#include <utf8proc.h>

#include <array>
#include <utility>

namespace monograph::bench {
namespace {

using CodePoints = std::u32string;

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_space(char32_t c) {
  // White_Space less the control characters that normalisation drops.
  switch (category(c)) {
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return true;
    default:
      return c == U'\t' || c == U'\n' || c == U'\r';
  }
}

bool is_dropped(char32_t c) {
  if (c == 0 || c == 0xFFFD) return true;
  if (c == U'\t' || c == U'\n' || c == U'\r') return false;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
      return true;
    default:
      return false;
  }
}

bool is_cjk(char32_t c) {
  // The range up to U+2CEAF begins at U+2B920 in Hugging Face tokenizers, at U+2B820 in the
  // original; models are shipped with the former.
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

bool is_punctuation(char32_t c) {
  // All ASCII marks count, also those that Unicode calls symbols, such as '$' and '~'.
  if ((c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
      (c >= 123 && c <= 126)) {
    return true;
  }
  switch (category(c)) {
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return true;
    default:
      return false;
  }
}

// Drops control characters, makes all white space ' ' and sets ideographs apart.
CodePoints clean(std::string_view text) {
  CodePoints out;
  out.reserve(text.size());
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (std::size_t at = 0; at < text.size();) {
    utf8proc_int32_t code = 0;
    const auto used =
        utf8proc_iterate(bytes + at, static_cast<utf8proc_ssize_t>(text.size() - at), &code);
    if (used <= 0) {
      throw Error(Code::kInvalidArgument, fmt::format("text is not valid UTF-8 at byte {}", at));
    }
    at += static_cast<std::size_t>(used);
    const auto c = static_cast<char32_t>(code);
    if (is_dropped(c)) continue;
    if (is_cjk(c)) {
      out += {U' ', c, U' '};
    } else {
      out += is_space(c) ? U' ' : c;
    }
  }
  return out;
}

// Canonical decomposition without the combining marks, in lower case.
CodePoints fold(const CodePoints& text) {
  CodePoints decomposed;
  decomposed.reserve(text.size() + 8);
  std::array<utf8proc_int32_t, 32> buffer{};
  int boundary = 0;
  for (const char32_t c : text) {
    const auto count = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(c), buffer.data(), buffer.size(),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), &boundary);
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
      const auto part = static_cast<char32_t>(buffer[static_cast<std::size_t>(i)]);
      if (category(part) == UTF8PROC_CATEGORY_MN) continue;
      decomposed += static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(part)));
    }
  }
  return decomposed;
}

void append_utf8(std::string& out, char32_t c) {
  std::array<utf8proc_uint8_t, 4> bytes{};
  const auto count = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes.data());
  out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(count));
}

}  // namespace

std::size_t find_invalid_utf8(std::string_view text) noexcept {
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  std::size_t at = 0;
  while (at < text.size()) {
    utf8proc_int32_t code = 0;
    const auto used =
        utf8proc_iterate(bytes + at, static_cast<utf8proc_ssize_t>(text.size() - at), &code);
    if (used <= 0) return at;
    at += static_cast<std::size_t>(used);
  }
  return std::string_view::npos;
}

std::vector<std::string> bert_words(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  const auto finish = [&] {
    if (!word.empty()) words.push_back(std::move(word));
    word.clear();
  };
  for (const char32_t c : fold(clean(text))) {
    if (is_space(c)) {
      finish();
    } else if (is_punctuation(c)) {
      finish();
      append_utf8(word, c);
      finish();
    } else {
      append_utf8(word, c);
    }
  }
  finish();
  return words;
}

}  // namespace monograph::bench
