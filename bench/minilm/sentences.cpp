#include "bench/minilm/sentences.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include <fstream>
#include <sstream>
#include <system_error>

#include "bench/minilm/text.h"

namespace monograph::bench {
namespace {

constexpr std::uintmax_t kLargestFile = std::uintmax_t{16} << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kSpace = " \t\r\v\f";

std::string_view trimmed(std::string_view line) {
  const auto begin = line.find_first_not_of(kSpace);
  if (begin == line.npos) return {};
  return line.substr(begin, line.find_last_not_of(kSpace) - begin + 1);
}

}  // namespace

std::vector<std::string> split_sentences(std::string_view text, const std::string& source) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::vector<std::string> sentences;
  for (int number = 1; !text.empty(); ++number) {
    const auto end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    if (const auto bad = find_invalid_utf8(line); bad != line.npos) {
      throw Error(Code::kInvalidFile,
                  fmt::format("{}: line {}: not valid UTF-8 at byte {}", source, number, bad + 1));
    }
    if (const auto sentence = trimmed(line); !sentence.empty()) sentences.emplace_back(sentence);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
  }
  if (sentences.size() < 2) {
    throw Error(Code::kInvalidFile,
                fmt::format("{}: expected at least two sentences, one per line; got {}", source,
                            sentences.size()));
  }
  return sentences;
}

std::vector<std::string> read_sentences(const std::filesystem::path& file) {
  const auto fail = [&](const std::string& what) {
    throw Error(Code::kInvalidFile, file.string() + ": " + what);
  };
  std::error_code error;
  if (std::filesystem::is_directory(file, error)) fail("is a directory; expected a text file");
  const auto size = std::filesystem::file_size(file, error);
  if (error) fail("can't be read: " + error.message());
  if (size > kLargestFile) {
    fail(fmt::format("has {} bytes; expected at most {}", size, kLargestFile));
  }
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  if (size > 0) text << in.rdbuf();
  if (!in || !text) fail("can't be read");
  return split_sentences(text.str(), file.string());
}

}  // namespace monograph::bench
