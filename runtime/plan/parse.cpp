#include <monograph/error.h>

#include <cctype>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/plan/plan.h"

namespace monograph::plan {
namespace {

constexpr std::size_t kMaxName = 4096;

/// Reads tokens of a problem and knows where it is. Never reads past the text.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  [[noreturn]] void fail(const std::string& expected) const {
    std::string found = "end of text";
    if (at_ < text_.size()) {
      const char c = text_[at_];
      found = std::isprint(static_cast<unsigned char>(c)) != 0
                  ? std::string("'") + c + "'"
                  : "byte " + std::to_string(static_cast<unsigned char>(c));
    }
    throw Error(Code::kInvalidGraph, "line " + std::to_string(line_) + ", column " +
                                         std::to_string(column_) + ": expected " + expected +
                                         ", found " + found);
  }

  bool at_end() {
    skip_space();
    return at_ == text_.size();
  }
  bool peek(std::string_view token) {
    skip_space();
    return text_.substr(at_).starts_with(token);
  }
  bool accept(std::string_view token) {
    if (!peek(token)) return false;
    for (std::size_t i = 0; i < token.size(); ++i) advance();
    return true;
  }
  void expect(std::string_view token) {
    if (!accept(token)) fail("'" + std::string(token) + "'");
  }
  std::string word() {
    skip_space();
    std::string s;
    while (at_ < text_.size() && std::islower(static_cast<unsigned char>(text_[at_])) != 0 &&
           s.size() < kMaxName) {
      s += text_[at_];
      advance();
    }
    if (s.empty()) fail("a word");
    return s;
  }
  std::int64_t integer() {
    skip_space();
    const bool negative = accept("-");
    if (at_ == text_.size() || !is_digit(text_[at_])) fail("a number");
    std::int64_t value = 0;
    while (at_ < text_.size() && is_digit(text_[at_])) {
      const int digit = text_[at_] - '0';
      // Negative magnitudes are accumulated below zero: that side reaches one further.
      const bool fits = negative ? value >= (kMin + digit) / 10 : value <= (kMax - digit) / 10;
      if (!fits) fail("a number of 64 bits");
      value = value * 10 + (negative ? -digit : digit);
      advance();
    }
    return value;
  }
  std::int32_t small_integer() {
    const std::int64_t value = integer();
    if (value < std::numeric_limits<std::int32_t>::min() ||
        value > std::numeric_limits<std::int32_t>::max()) {
      fail("a number of 32 bits before this");
    }
    return static_cast<std::int32_t>(value);
  }
  std::string string() {
    expect("\"");
    std::string s;
    while (true) {
      if (at_ == text_.size() || text_[at_] == '\n') fail("'\"' to end the string");
      if (s.size() == kMaxName && text_[at_] != '"') {
        fail("'\"': names have at most " + std::to_string(kMaxName) + " bytes");
      }
      const char c = text_[at_];
      advance();
      if (c == '"') return s;
      s += c == '\\' ? escaped() : c;
    }
  }

 private:
  static constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  static constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();
  static bool is_digit(char c) { return c >= '0' && c <= '9'; }

  char escaped() {
    if (at_ < text_.size() && (text_[at_] == '"' || text_[at_] == '\\')) {
      const char c = text_[at_];
      advance();
      return c;
    }
    if (at_ == text_.size() || text_[at_] != 'x') fail("'\"', '\\' or 'x' after a backslash");
    advance();
    const int high = hex_digit();
    return static_cast<char>(high * 16 + hex_digit());
  }
  int hex_digit() {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const std::size_t digit = at_ < text_.size() ? kDigits.find(text_[at_]) : kDigits.npos;
    if (digit == kDigits.npos) fail("a hexadecimal digit");
    advance();
    return static_cast<int>(digit);
  }
  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) {
      advance();
    }
  }
  void advance() {
    if (text_[at_] == '\n') {
      ++line_;
      column_ = 1;
    } else {
      ++column_;
    }
    ++at_;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::int64_t line_ = 1;
  std::int64_t column_ = 1;
};

BufferKind parse_kind(Reader& reader) {
  for (const BufferKind kind : {BufferKind::kInput, BufferKind::kOutput, BufferKind::kWeight,
                                BufferKind::kState, BufferKind::kIntermediate}) {
    std::string opening(buffer_kind_name(kind));
    opening += '[';
    if (reader.accept(opening)) return kind;
  }
  reader.fail("a buffer kind (input, output, weight, state, intermediate) and '['");
}

std::vector<BufferId> parse_ids(Reader& reader) {
  std::vector<BufferId> ids;
  reader.expect("(");
  while (!reader.accept(")")) {
    if (!ids.empty()) reader.expect(",");
    reader.expect("b");
    ids.push_back(reader.small_integer());
  }
  return ids;
}

/// `key=value, ...]`; `field(key)` reads the value and returns false for an unknown key.
template <class Field>
void parse_fields(Reader& reader, const std::string& known, Field field) {
  std::vector<std::string> seen;
  while (!reader.accept("]")) {
    if (!seen.empty()) reader.expect(",");
    std::string key = reader.word();
    for (const std::string& k : seen) {
      if (k == key) reader.fail(std::string("'").append(key).append("' only once"));
    }
    reader.expect("=");
    if (!field(key)) {
      reader.fail(
          std::string("one of ").append(known).append(" instead of '").append(key).append("'"));
    }
    seen.push_back(std::move(key));
  }
}

Buffer parse_buffer(Reader& reader, std::size_t position) {
  Buffer b;
  reader.expect("b" + std::to_string(position));
  b.id = static_cast<BufferId>(position);
  reader.expect("=");
  b.kind = parse_kind(reader);
  parse_fields(reader, "bytes, slot, name", [&](const std::string& key) {
    if (key == "bytes") {
      b.bytes = reader.integer();
    } else if (key == "slot") {
      b.slot = reader.small_integer();
    } else if (key == "name") {
      b.name = reader.string();
    } else {
      return false;
    }
    return true;
  });
  return b;
}

Launch parse_launch(Reader& reader, std::size_t position) {
  Launch l;
  reader.expect("l" + std::to_string(position));
  l.id = static_cast<LaunchId>(position);
  reader.expect("=");
  reader.expect("launch[");
  parse_fields(reader, "name, reads, writes, workspace", [&](const std::string& key) {
    if (key == "name") {
      l.name = reader.string();
    } else if (key == "reads") {
      l.reads = parse_ids(reader);
    } else if (key == "writes") {
      l.writes = parse_ids(reader);
    } else if (key == "workspace") {
      l.workspace_bytes = reader.integer();
    } else {
      return false;
    }
    return true;
  });
  return l;
}

}  // namespace

Problem parse_problem(std::string_view text) {
  Reader reader(text);
  Problem problem;
  reader.expect("problem");
  reader.expect("{");
  while (reader.peek("b")) problem.buffers.push_back(parse_buffer(reader, problem.buffers.size()));
  while (!reader.accept("}")) {
    if (!reader.peek("l")) reader.fail("a launch 'l...' or '}'");
    problem.launches.push_back(parse_launch(reader, problem.launches.size()));
  }
  if (!reader.at_end()) reader.fail("the end of the text");
  return problem;
}

}  // namespace monograph::plan
