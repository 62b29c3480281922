// WordPiece tokenizer for uncased BERT models.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace monograph::bench {

/// Immutable after load; safe from many threads.
class Tokenizer {
 public:
  /// Reads `vocabulary` (one token per line, the line's number is its id). Error(kInvalidFile) if
  /// it can't be read, repeats a token or lacks one of [PAD], [UNK], [CLS], [SEP].
  static Tokenizer load(const std::filesystem::path& vocabulary);

  /// Ids of `text` between [CLS] and [SEP], cut after the first tokens that fit `max_length`
  /// (both marks included, at least 2, else Error(kInvalidArgument)). `text` must be valid UTF-8,
  /// else Error(kInvalidArgument). Special tokens spelt out in the text ("[MASK]") count as
  /// themselves. Source: tokenization.py of google-research/bert.
  std::vector<std::int64_t> encode(std::string_view text, std::size_t max_length) const;

  std::size_t size() const noexcept { return tokens_.size(); }
  /// Spelling of `id`, which must be below size().
  const std::string& token(std::int64_t id) const {
    return tokens_.at(static_cast<std::size_t>(id));
  }
  std::int64_t pad_id() const noexcept { return pad_; }

 private:
  struct Hash {
    using is_transparent = void;  // NOLINT(readability-identifier-naming): asked for by std
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };
  using Ids = std::unordered_map<std::string, std::int64_t, Hash, std::equal_to<>>;

  explicit Tokenizer(std::vector<std::string> tokens, Ids ids);
  void append_plain(std::string_view text, std::vector<std::int64_t>& out) const;
  void append_word(const std::string& word, std::vector<std::int64_t>& out) const;

  std::vector<std::string> tokens_;
  Ids ids_;
  std::int64_t pad_ = 0;
  std::int64_t unknown_ = 0;
  std::int64_t begin_ = 0;
  std::int64_t end_ = 0;
};

}  // namespace monograph::bench
