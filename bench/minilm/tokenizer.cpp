#include "bench/minilm/tokenizer.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <utility>

#include "bench/minilm/text.h"

namespace monograph::bench {
namespace {

// Words longer than this become one unknown token, as in the original.
constexpr std::ptrdiff_t kLongestWord = 100;

constexpr std::array<std::string_view, 5> kSpecialTokens{"[PAD]", "[UNK]", "[CLS]", "[SEP]",
                                                         "[MASK]"};

bool starts_code_point(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
}

// Place and spelling of the first special token in `text`; {npos, ""} if there is none.
std::pair<std::size_t, std::string_view> first_special(std::string_view text) {
  for (std::size_t at = text.find('['); at != text.npos; at = text.find('[', at + 1)) {
    for (const std::string_view token : kSpecialTokens) {
      if (text.substr(at).starts_with(token)) return {at, token};
    }
  }
  return {text.npos, {}};
}

}  // namespace

Tokenizer Tokenizer::load(const std::filesystem::path& vocabulary) {
  const auto fail = [&](const std::string& what) {
    throw Error(Code::kInvalidFile, vocabulary.string() + ": " + what);
  };
  std::ifstream in(vocabulary);
  if (!in) fail("can't be opened");
  std::vector<std::string> tokens;
  Ids ids;
  for (std::string line; std::getline(in, line);) {
    const auto id = static_cast<std::int64_t>(tokens.size());
    if (line.empty()) fail(fmt::format("line {} is empty", id + 1));
    const auto [it, inserted] = ids.emplace(line, id);
    if (!inserted) {
      fail(fmt::format("line {} repeats the token of line {}", id + 1, it->second + 1));
    }
    tokens.push_back(std::move(line));
  }
  if (in.bad()) fail("can't be read");
  for (const std::string_view token : kSpecialTokens) {
    if (token != "[MASK]" && !ids.contains(token)) fail(fmt::format("lacks the token {}", token));
  }
  return Tokenizer(std::move(tokens), std::move(ids));
}

Tokenizer::Tokenizer(std::vector<std::string> tokens, Ids ids)
    : tokens_(std::move(tokens)),
      ids_(std::move(ids)),
      pad_(ids_.at("[PAD]")),
      unknown_(ids_.at("[UNK]")),
      begin_(ids_.at("[CLS]")),
      end_(ids_.at("[SEP]")) {}

std::vector<std::int64_t> Tokenizer::encode(std::string_view text, std::size_t max_length) const {
  if (max_length < 2) {
    throw Error(Code::kInvalidArgument,
                fmt::format("max_length: expected at least 2, got {}", max_length));
  }
  std::vector<std::int64_t> ids{begin_};
  while (!text.empty()) {
    const auto [at, special] = first_special(text);
    append_plain(text.substr(0, at), ids);
    if (at == text.npos) break;
    const auto known = ids_.find(special);
    ids.push_back(known == ids_.end() ? unknown_ : known->second);
    text.remove_prefix(at + special.size());
  }
  ids.resize(std::min(ids.size(), max_length - 1));
  ids.push_back(end_);
  return ids;
}

void Tokenizer::append_plain(std::string_view text, std::vector<std::int64_t>& out) const {
  for (const std::string& word : bert_words(text)) append_word(word, out);
}

// Longest known piece first, from left to right; a word with an unknown piece is unknown as a
// whole.
void Tokenizer::append_word(const std::string& word, std::vector<std::int64_t>& out) const {
  if (std::count_if(word.begin(), word.end(), starts_code_point) > kLongestWord) {
    out.push_back(unknown_);
    return;
  }
  const std::size_t known = out.size();
  std::string piece;
  for (std::size_t begin = 0; begin < word.size();) {
    std::size_t end = word.size();
    for (; end > begin; --end) {
      if (end < word.size() && !starts_code_point(word[end])) continue;
      piece.assign(begin == 0 ? "" : "##").append(word, begin, end - begin);
      if (const auto it = ids_.find(piece); it != ids_.end()) {
        out.push_back(it->second);
        break;
      }
    }
    if (end == begin) {
      out.resize(known);
      out.push_back(unknown_);
      return;
    }
    begin = end;
  }
}

}  // namespace monograph::bench
